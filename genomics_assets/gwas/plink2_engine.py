"""PLINK 2 as another engine of association, where it is on PATH: the same rows from `plink2 --glm`.

What differs between its versions is met here: columns come and go and change their names, and A1 need not be ALT, so
that every row is matched by its alleles.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genomics_assets.gwas.association import Analysis, Found, Untested, association_batch
from genomics_assets.gwas.dataset import GenotypeDataset
from genomics_assets.gwas.genotype_matrix import Bools, Counts, Floats
from genomics_assets.gwas.job_settings import AnalysisType
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.tails import Tail, two_sided_normal, two_sided_t
from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_NOT_KNOWN = "NA"
_SMALLEST_PRINTED = 1e-290
_REASONS = {
    "CONST_ALLELE": Untested.NO_VARIATION,
    "CONST_OMITTED_ALLELE": Untested.NO_VARIATION,
    "SAMPLE_CT<=PREDICTOR_CT": Untested.TOO_FEW,
    "CORR_TOO_HIGH": Untested.COLLINEAR,
    "VIF_INFINITE": Untested.COLLINEAR,
    "VIF_TOO_HIGH": Untested.COLLINEAR,
    "RANK_DEFICIENT": Untested.COLLINEAR,
}
_OUTPUTS = ("linear", "logistic.hybrid", "logistic", "firth")


def find_plink2() -> str | None:
    """Where plink2 is; None where it is not on PATH."""
    return shutil.which("plink2")


def associate_with_plink2(
    cohort: GenotypeDataset, analysis: Analysis, *, program: str | None = None
) -> Iterator[dict[str, pa.RecordBatch]]:
    """Test as `association.associate` does, with PLINK 2.

    Args:
        cohort: the genotypes.
        analysis: what is to be tested: linear and logistic traits.
        program: plink2; None looks on PATH.

    Yields:
        One record batch by trait.

    Raises:
        InputError: plink2 is not there, or does not do what is asked.
        RuntimeError: it failed; with its last words.
    """
    program = program or find_plink2()
    if program is None:
        raise InputError("plink2 is not on PATH", remedy="install it, or set `engine: native` in job.yaml")
    unfit = next((kind for _, kind in analysis.traits if kind not in ("linear", "logistic")), None)
    if unfit is not None or analysis.missing != "complete":
        raise InputError(
            f"plink2 does not do {unfit or 'missing: mean'} here", remedy="set `engine: native` in job.yaml"
        )
    for trait, kind in analysis.traits:
        with tempfile.TemporaryDirectory(prefix="plink2-") as folder:
            yield {trait.name: _run(program, Path(folder), cohort, analysis, trait, kind)}


def _run(
    program: str, folder: Path, cohort: GenotypeDataset, analysis: Analysis, trait: Trait, kind: AnalysisType
) -> pa.RecordBatch:
    used = analysis.used(trait)
    _write_inputs(folder, cohort, analysis, trait, used)
    covariates = analysis.covariates.shape[1]
    arguments = [
        program, "--bed", str(cohort.matrix.path), "--bim", "cohort.bim", "--fam", "cohort.fam",
        "--keep", "keep.txt", "--extract", "extract.txt", "--pheno", "pheno.txt", "--pheno-name", "trait",
        "--threads", str(analysis.threads), "--out", "out", "--allow-extra-chr", "--output-chr", "chrM",
        *(["--covar", "covar.txt", "--covar-variance-standardize"] if covariates else []),
        "--glm", "hide-covar", "no-x-sex", *(["firth-fallback"] if kind == "logistic" else []),
        *([] if covariates else ["allow-no-covars"]), "cols=+a1freq,+beta,+err",
    ]  # fmt: skip
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - own list
    if done.returncode != 0:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        raise RuntimeError(f"plink2 ended with {done.returncode}: {' '.join(last) or 'no error line'}")
    output = next(
        (
            folder / f"out.trait.glm.{name}"
            for name in _OUTPUTS
            if (folder / f"out.trait.glm.{name}").exists()
        ),
        None,
    )
    if output is None:
        raise RuntimeError("plink2 wrote no table of results")
    return _read(output, cohort, analysis, kind)


def _write_inputs(
    folder: Path, cohort: GenotypeDataset, analysis: Analysis, trait: Trait, used: Bools
) -> None:
    """Names are numbers: ids may hold white space, and must not be seen in plink2's log."""
    sex = cohort.sex
    with (folder / "cohort.fam").open("w") as fam:
        fam.writelines(f"s{i}\ts{i}\t0\t0\t{sex[i]}\t-9\n" for i in range(cohort.matrix.samples))
    sites = zip(*(cohort.variants[name].to_pylist() for name in (
        "chromosome", "position", "ref_allele", "alt_allele")), strict=True)  # fmt: skip
    with (folder / "cohort.bim").open("w") as bim:
        bim.writelines(f"{c}\t{i}\t0\t{pos}\t{alt}\t{ref}\n" for i, (c, pos, ref, alt) in enumerate(sites))
    chosen = np.flatnonzero(used)
    (folder / "keep.txt").write_text("".join(f"s{i}\ts{i}\n" for i in chosen))
    (folder / "extract.txt").write_text("".join(f"{i}\n" for i in np.flatnonzero(analysis.variants)))
    values = trait.values + 1 if trait.is_binary else trait.values
    with (folder / "pheno.txt").open("w") as pheno:
        pheno.write("#FID\tIID\ttrait\n")
        pheno.writelines(f"s{i}\ts{i}\t{values[i]:.17g}\n" for i in chosen)
    with (folder / "covar.txt").open("w") as covar:
        width = analysis.covariates.shape[1]
        covar.write("\t".join(["#FID", "IID", *(f"c{column}" for column in range(width))]) + "\n")
        for i in chosen:
            covar.write(
                "\t".join([f"s{i}", f"s{i}", *(f"{value:.17g}" for value in analysis.covariates[i])]) + "\n"
            )


def _read(output: Path, cohort: GenotypeDataset, analysis: Analysis, kind: AnalysisType) -> pa.RecordBatch:
    import pyarrow.csv as arrow_csv

    table = arrow_csv.read_csv(
        output,
        parse_options=arrow_csv.ParseOptions(delimiter="\t"),
        convert_options=arrow_csv.ConvertOptions(null_values=[_NOT_KNOWN], strings_can_be_null=True),
    )
    columns = {name.lstrip("#"): table[name] for name in table.schema.names}
    variants = columns["ID"].cast("int64").to_numpy()
    wanted = np.flatnonzero(analysis.variants)
    place = np.full(cohort.matrix.variants, -1)
    place[variants] = np.arange(len(variants))
    rows = place[wanted]
    if (rows < 0).any():
        raise RuntimeError(f"plink2 left out {int((rows < 0).sum()):,} variants without a word")
    alt = np.array(cohort.variants["alt_allele"].take(wanted).to_pylist(), dtype=object)
    a1 = np.array(columns["A1"].cast("string").to_pylist(), dtype=object)[rows]
    found = _found(columns, rows, a1 == alt, kind, analysis.covariates.shape[1] + 2)
    return association_batch(cohort.variants.take(wanted), found)


def _found(
    columns: Mapping[str, pa.ChunkedArray], rows: Counts, same: Bools, kind: AnalysisType, predictors: int
) -> Found:
    """Results in the order of `rows`; `same` tells where A1 is the effect allele."""

    def numbers(*names: str) -> Floats:
        name = next(name for name in names if name in columns)
        return np.asarray(columns[name].cast("float64").to_numpy(zero_copy_only=False), dtype=np.float64)[
            rows
        ]

    def words(name: str, default: str) -> list[str]:
        if name not in columns:
            return [default] * len(rows)
        found = columns[name].cast("string").to_pylist()
        return [found[row] or default for row in rows]

    sign, frequency = np.where(same, 1.0, -1.0), numbers("A1_FREQ")
    statistic, n = sign * numbers("T_STAT", "Z_STAT", "T_OR_F_STAT", "Z_OR_F_STAT"), numbers("OBS_CT")
    tail = _tail(numbers("P"), statistic, n - predictors if kind == "linear" else None)
    reason = np.array([_reason(code) for code in words("ERRCODE", ".")], dtype=object)
    reason[(reason == "") & np.isnan(tail.p)] = Untested.NO_CONVERGENCE.value
    return Found(
        beta=sign * numbers("BETA"),
        se=numbers("SE"),
        statistic=statistic,
        tail=tail,
        n=n.astype(np.int64),
        frequency=np.where(same, frequency, 1 - frequency),
        test=np.array(["firth" if used == "Y" else kind for used in words("FIRTH?", "N")], dtype=object),
        reason=reason,
    )


def _tail(p: Floats, statistic: Floats, freedom: Floats | None) -> Tail:
    """The p values as printed, to six digits; logarithms by the statistic where they are too small to be printed."""
    with np.errstate(divide="ignore"):
        neg_log10 = -np.log10(p) + 0.0
    ours = two_sided_normal(statistic) if freedom is None else two_sided_t(statistic, np.maximum(freedom, 1))
    return Tail(p, np.where(p < _SMALLEST_PRINTED, ours.neg_log10, neg_log10))


def _reason(code: str) -> str:
    return "" if code == "." else _REASONS.get(code.split(":")[0], Untested.NO_CONVERGENCE).value
