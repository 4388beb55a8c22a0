"""Small cohorts for tests, and what the tests of association make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.cohort_generator import Planted
from genomics_assets.gwas.association import Analysis, associate
from genomics_assets.gwas.dataset import (
    GENOTYPES,
    GenotypeDataset,
    sample_table,
    variant_schema,
    write_tables,
)
from genomics_assets.gwas.genotype_matrix import MatrixWriter, pack
from genomics_assets.gwas.job_settings import AnalysisType, Missing
from genomics_assets.gwas.phenotypes import (
    PhenotypeTable,
    Trait,
    covariates_of,
    join_samples,
    trait_of,
)
from genomics_assets.gwas.plink2_engine import find_plink2

CODES = {2: 0, None: 1, 1: 2, 0: 3}


@dataclass(frozen=True)
class Cohort:
    """A generated cohort: its files, its canonical form, and its phenotypes."""

    stem: Path
    dataset: GenotypeDataset
    table: PhenotypeTable
    planted: list[Planted]

    @property
    def file(self) -> str:
        return "phenotypes.csv"

    def trait(self, name: str) -> Trait:
        return trait_of(self.table, name, self.join, self.file)

    @property
    def join(self):  # type: ignore[no-untyped-def]
        return join_samples(self.dataset.samples["sample_id"].to_pylist(), self.table)

    @property
    def covariates(self) -> np.ndarray:
        return covariates_of(self.table, self.table.covariates, self.join, self.file)

    def analysis(
        self, *traits: tuple[Trait, AnalysisType], missing: Missing = "complete", threads: int = 2
    ) -> Analysis:
        everybody = np.ones(self.dataset.matrix.samples, dtype=bool)
        everything = np.ones(self.dataset.matrix.variants, dtype=bool)
        return Analysis(traits, self.covariates, everybody, everything, missing, threads)


def tables(batches: Iterable[dict[str, pa.RecordBatch]]) -> dict[str, pa.Table]:
    """Whole tables from a stream of batches."""
    found: dict[str, list[pa.RecordBatch]] = {}
    for each in batches:
        for name, batch in each.items():
            batch.validate(full=True)
            found.setdefault(name, []).append(batch)
    return {name: pa.Table.from_batches(parts) for name, parts in found.items()}


def dataset_of(
    folder: Path,
    calls: Sequence[Sequence[int | None]],
    *,
    chromosomes: Sequence[str] | None = None,
    positions: Sequence[int] | None = None,
    alleles: Sequence[tuple[str, str]] | None = None,
    sex: Sequence[int] | None = None,
    build: str | None = None,
) -> GenotypeDataset:
    """A cohort of the given copies of the effect allele, one list for each variant."""
    folder.mkdir(parents=True, exist_ok=True)
    count, samples = len(calls), len(calls[0])
    with MatrixWriter(folder / GENOTYPES, samples) as writer:
        writer.append(pack([[CODES[call] for call in row] for row in calls]))
    pairs = alleles or [("A", "G")] * count
    columns = [
        pa.array([f"rs{i + 1}" for i in range(count)]),
        pa.array(list(chromosomes or ["chr1"] * count)).dictionary_encode(),
        pa.array(list(positions or range(1000, 1000 + count)), pa.int64()),
        pa.array([ref for ref, _ in pairs]),
        pa.array([alt for _, alt in pairs]),
    ]
    names = [f"S{i}" for i in range(samples)]
    dataset = GenotypeDataset(
        writer.matrix,
        pa.Table.from_arrays(columns, schema=variant_schema()),
        sample_table(names, names, list(sex or [0] * samples)),
        build,
    )
    write_tables(dataset, folder)
    return dataset


def rows_of(
    dataset: GenotypeDataset,
    values: Sequence[float],
    kind: AnalysisType,
    *,
    covariates: np.ndarray | None = None,
    missing: Missing = "complete",
) -> list[dict[str, object]]:
    """Rows of the association table of one trait."""
    trait = Trait("T", np.array(values, dtype=np.float64), set(values) <= {0.0, 1.0})
    given = np.empty((len(values), 0)) if covariates is None else covariates
    everybody = np.ones(dataset.matrix.samples, dtype=bool)
    analysis = Analysis(
        [(trait, kind)], given, everybody, np.ones(dataset.matrix.variants, dtype=bool), missing, 1
    )
    return tables(associate(dataset, analysis))["T"].to_pylist()


needs_plink2 = pytest.mark.skipif(
    find_plink2() is None, reason="plink2 is not on PATH (apt-get install plink2)"
)
