"""GWAS-SSF, the GWAS Catalog's standard format of summary statistics, with its metadata file.

Version 1.0 (Hayhurst et al. 2023, doi:10.1101/2022.07.15.500230; https://github.com/EBISPOT/gwas-summary-statistics-standard):
the mandatory columns in their order, `variant_id`, `rsid` and the optional ones that we know behind them, sorted by
chromosome and position, missing values as `#NA`. Variants on contigs beyond 1 to 25 have no place in it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from genomics_assets.gwas.dataset import chromosome_number

if TYPE_CHECKING:
    import pyarrow as pa

NOT_KNOWN = "#NA"
_COLUMNS = (
    "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
    "effect_allele_frequency", "p_value", "variant_id", "rsid", "ref_allele", "n",
)  # fmt: skip
_VARIANT_ID = re.compile(r"[^A-Za-z0-9_]")
_RS = re.compile(r"rs[0-9]+")
_SLICE = 50_000


@dataclass(frozen=True)
class Study:
    """What the metadata file says of a study.

    Attributes:
        trait: its name.
        build: the assembly, as `dataset.GenotypeDataset.build`.
        samples: analysed samples.
        cases: cases among them; None for a quantitative trait.
        date: of the file, ISO 8601.
        covariates: names of the covariates.
    """

    trait: str
    build: str | None
    samples: int
    cases: int | None
    date: str
    covariates: tuple[str, ...] = ()


def write_gwas_ssf(table: pa.Table, path: Path, study: Study) -> Path:
    """Write a table of associations as GWAS-SSF, with `<path>-meta.yaml` beside it.

    Args:
        table: of `association.association_schema`; rows without p or on other contigs are left out.
        path: a name that ends in `.tsv.gz`.
        study: what the table is of.

    Returns:
        The metadata file.
    """
    negative_logarithms = _underflows(table)
    columns = [
        ("neg_log_10_p_value" if name == "p_value" and negative_logarithms else name) for name in _COLUMNS
    ]
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(("\t".join(columns) + "\n").encode())
        for lines in _lines(table, negative_logarithms):
            file.write(lines.encode())
    metadata = path.with_name(f"{path.name}-meta.yaml")
    told = _metadata(study, path, negative_logarithms=negative_logarithms)
    metadata.write_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True))
    return metadata


def _underflows(table: pa.Table) -> bool:
    """Whether a p value is too small for a double: the file then holds negative logarithms."""
    p = table["p_value"].to_numpy()
    return bool((p[np.isfinite(p)] < 1e-300).any())


def _lines(table: pa.Table, negative_logarithms: bool) -> Iterator[str]:
    names = table["chromosome"].cast("string").to_pylist()
    number = np.array([chromosome_number(name) or 0 for name in names])
    strength = table["neg_log10_p"].to_numpy()
    rows = np.flatnonzero((number > 0) & np.isfinite(strength))
    rows = rows[np.lexsort((table["position"].to_numpy()[rows], number[rows]))]
    for start in range(0, len(rows), _SLICE):
        chosen = rows[start : start + _SLICE]
        part = table.take(chosen).to_pydict()
        part["chromosome"] = number[chosen].tolist()
        part["p"] = part["neg_log10_p"] if negative_logarithms else part["p_value"]
        yield "".join(_line(row) for row in zip(*(part[name] for name in _NEEDED), strict=True))


_NEEDED = (
    "chromosome", "position", "effect_allele", "ref_allele", "alt_allele", "beta", "se", "effect_allele_frequency", "p",
    "rsid", "n_samples",
)  # fmt: skip


def _line(row: tuple[Any, ...]) -> str:
    chromosome, position, effect, ref, alt, beta, se, frequency, p, name, n = row
    other = ref if effect == alt else alt
    fields = (
        chromosome,
        position,
        effect,
        other,
        _number(beta),
        _number(se),
        _number(frequency),
        _number(p),
        _VARIANT_ID.sub("_", f"{chromosome}_{position}_{ref}_{alt}"),
        name if _RS.fullmatch(name) else NOT_KNOWN,
        "EA" if effect == ref else "OA",
        n,
    )
    return "\t".join(map(str, fields)) + "\n"


def _number(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.8g}"


def _metadata(study: Study, path: Path, *, negative_logarithms: bool) -> dict[str, Any]:
    sample: dict[str, Any] = {"sample_size": study.samples, "sample_ancestry_category": ["NR"]}
    if study.cases is not None:
        sample |= {
            "case_control_study": True,
            "case_count": study.cases,
            "control_count": study.samples - study.cases,
        }
    return {
        "trait_description": [study.trait],
        "genotyping_technology": ["NR"],
        "samples": [sample],
        "genome_assembly": study.build or "unknown",
        "coordinate_system": "1-based",
        "effect_allele_frequency_lower_limit": 0,
        "pvalue_is_neg_log10": negative_logarithms,
        "adjusted_covariates": list(study.covariates),
        "is_harmonised": False,
        "is_sorted": True,
        "data_file_name": path.name,
        "data_file_md5sum": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        "file_type": "GWAS-SSF v1.0",
        "date_metadata_last_modified": study.date,
    }
