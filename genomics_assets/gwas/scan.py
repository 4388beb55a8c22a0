"""A genome-wide scan from its parts: who and what is tested, the tests, and what is kept of each trait's result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.blocks import BlockMap, in_threads
from genomics_assets.gwas.association import Analysis, associate, association_schema
from genomics_assets.gwas.dataset import chromosome_number
from genomics_assets.gwas.genotype_matrix import Bools, Floats
from genomics_assets.gwas.gwas_ssf import Study, write_gwas_ssf
from genomics_assets.gwas.job_settings import FOR_BINARY_TRAITS, AnalysisType, JobSettings
from genomics_assets.gwas.phenotypes import (
    PhenotypeTable,
    SampleJoin,
    Trait,
    check_covariates,
    covariates_of,
    expect_matches,
    join_samples,
    trait_of,
)
from genomics_assets.gwas.principal_components import principal_components
from genomics_assets.gwas.quality_control import QualityReport, control_quality
from genomics_assets.gwas.summary import AssociationSummary, summarize
from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.gwas.dataset import GenotypeDataset

ASSOCIATIONS, SUMMARY_STATISTICS, MANHATTAN, QQ = (
    "associations.parquet", "summary_statistics.tsv.gz", "manhattan.png", "qq.png",
)  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """A dataset, ready to be tested: genotypes, phenotypes, and who is in both.

    Attributes:
        dataset: the genotypes.
        table: the phenotypes.
        settings: what is asked for.
        file: the phenotypes' file, for errors.
        join: who is in both.
    """

    dataset: GenotypeDataset
    table: PhenotypeTable
    settings: JobSettings
    file: str
    join: SampleJoin

    @classmethod
    def of(cls, dataset: GenotypeDataset, table: PhenotypeTable, settings: JobSettings, file: str) -> Cohort:
        """Join the two by sample id."""
        return cls(
            dataset, table, settings, file, join_samples(dataset.samples["sample_id"].to_pylist(), table)
        )

    @property
    def phenotypes(self) -> list[str]:
        """Names of the traits that are asked for."""
        return [self.settings.phenotype] if self.settings.phenotype else self.table.phenotypes

    @property
    def covariates(self) -> list[str]:
        """Names of the covariates that are asked for."""
        return self.table.covariates if self.settings.covariates is None else self.settings.covariates

    def trait(self, name: str) -> tuple[Trait, AnalysisType]:
        """A trait and its analysis.

        Raises:
            InputError: see `trait_of`; or the analysis needs cases and controls and the trait has none.
        """
        trait = trait_of(self.table, name, self.join, self.file)
        kind = self.settings.analysis_of(is_binary=trait.is_binary)
        if kind in FOR_BINARY_TRAITS and not trait.is_binary:
            raise InputError(
                f"{kind} needs cases and controls, and the phenotype {name!r} has other values than 0 and 1, or 1 and 2",
                remedy="set `analysis_type: linear` in job.yaml, or name another phenotype",
                file=self.file,
            )
        return trait, kind

    def quality(self) -> QualityReport:
        """Quality control, for all traits that are asked for."""
        repeated = set(self.join.repeated)
        ids = self.dataset.samples["sample_id"].to_pylist()
        return control_quality(
            self.dataset,
            self.settings.parameters,
            matched=self.join.rows >= 0,
            repeated=np.array([sample in repeated for sample in ids]),
            cases=self._cases(),
        )

    def _cases(self) -> Bools:
        """Cases of any binary trait that is asked for; a trait that cannot be tested has none."""
        cases = np.zeros(len(self.join.rows), dtype=bool)
        for name in self.phenotypes:
            try:
                trait, _ = self.trait(name)
            except InputError:
                continue
            if trait.is_binary:
                cases |= trait.values == 1
        return cases


@dataclass(frozen=True)
class Scan:
    """What is tested of a cohort.

    Attributes:
        cohort: where it comes from.
        analysis: what is to be tested.
        covariate_names: of the columns of `analysis.covariates`.
    """

    cohort: Cohort
    analysis: Analysis
    covariate_names: tuple[str, ...]

    def run(
        self, folder: Path, progress: Callable[[float], None], blocks: BlockMap = in_threads
    ) -> list[Scanned]:
        """Test all traits in one pass, each into a folder of its own below `folder`.

        Args:
            folder: gets `<number>/associations.parquet` for the traits in their order.
            progress: is told the fraction that is done.
            blocks: where blocks of variants are tested.
        """
        import pyarrow.parquet as pq

        started, cpu = time.perf_counter(), time.process_time()
        names = [trait.name for trait, _ in self.analysis.traits]
        paths = {name: folder / str(number) / ASSOCIATIONS for number, name in enumerate(names)}
        with ExitStack() as stack:
            writers = {}
            for name, path in paths.items():
                path.parent.mkdir(parents=True)
                writers[name] = stack.enter_context(
                    pq.ParquetWriter(path, association_schema(), compression="zstd")
                )
            for batches in self._batches(progress, blocks):
                for name, batch in batches.items():
                    writers[name].write_batch(batch, row_group_size=1 << 17)
        seconds = (time.perf_counter() - started) / len(names), (time.process_time() - cpu) / len(names)
        return [
            self._scanned(trait, kind, paths[trait.name], *seconds) for trait, kind in self.analysis.traits
        ]

    def _batches(
        self, progress: Callable[[float], None], blocks: BlockMap
    ) -> Iterator[dict[str, pa.RecordBatch]]:
        if self.cohort.settings.parameters.engine == "plink2":
            from genomics_assets.gwas.plink2_engine import associate_with_plink2

            return associate_with_plink2(self.cohort.dataset, self.analysis)
        return gathered(
            associate(
                self.cohort.dataset,
                self.analysis,
                lambda done, total: progress(done / max(total, 1)),
                blocks,
            )
        )

    def _scanned(self, trait: Trait, kind: AnalysisType, path: Path, wall: float, cpu: float) -> Scanned:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        used = self.analysis.used(trait)
        return Scanned(
            trait=trait,
            kind=kind,
            folder=path.parent,
            table=table,
            summary=summarize(table, self.cohort.dataset, used),
            samples=int(used.sum()),
            cases=int((trait.values[used] == 1).sum()) if trait.is_binary else None,
            wall_seconds=wall,
            cpu_seconds=cpu,
        )

    def write_extras(self, scanned: Scanned, date: str) -> tuple[bytes, bytes]:
        """Write summary statistics and pictures beside a trait's table; returns Manhattan and QQ plot, as PNG."""
        from genomics_assets.gwas.pictures import manhattan_picture, qq_picture

        study = Study(
            trait=scanned.trait.name,
            build=self.cohort.dataset.build,
            samples=scanned.samples,
            cases=scanned.cases,
            date=date,
            covariates=self.covariate_names,
        )
        write_gwas_ssf(scanned.table, scanned.folder / SUMMARY_STATISTICS, study)
        manhattan = manhattan_picture(
            scanned.table, scanned.summary, f"{scanned.trait.name} ({scanned.kind})"
        )
        qq = qq_picture(scanned.table, scanned.summary, scanned.trait.name)
        (scanned.folder / MANHATTAN).write_bytes(manhattan)
        (scanned.folder / QQ).write_bytes(qq)
        return manhattan, qq


@dataclass(frozen=True)
class Scanned:
    """One trait's result.

    Attributes:
        trait: what was tested.
        kind: how.
        folder: where its files are.
        table: of `association.association_schema`.
        summary: the table in numbers.
        samples: analysed.
        cases: among them; None for a quantitative trait.
        wall_seconds: its share of the pass.
        cpu_seconds: likewise.
    """

    trait: Trait
    kind: AnalysisType
    folder: Path
    table: pa.Table
    summary: AssociationSummary
    samples: int
    cases: int | None
    wall_seconds: float
    cpu_seconds: float

    def lead_documents(self) -> list[dict[str, Any]]:
        """The lead variants as a result's document keeps them."""
        rows = self.summary.lead_rows(self.table)
        return [
            {
                "rsid": row["rsid"],
                "chromosome": chromosome_number(row["chromosome"]) or row["chromosome"],
                "position": row["position"],
                "neg_log10_p": row["neg_log10_p"],
                "variants": lead.variants,
                "start": lead.start,
                "end": lead.end,
            }
            for row, lead in zip(rows, self.summary.leads, strict=True)
        ]


def prepare_scan(
    cohort: Cohort, quality: QualityReport, phenotypes: Sequence[str]
) -> tuple[Scan | None, dict[str, InputError]]:
    """Settle which of some phenotypes are tested, in whom, and with what.

    Returns:
        The scan of the traits that can be tested, None where there are none; and what is wrong with each of the others:
        it says nothing, it does not suit the analysis, or covariates are constant or collinear among its samples.

    Raises:
        InputError: nobody is in both files, nothing passed quality control, or a covariate is not there.
    """
    expect_matches(cohort.join, cohort.file)
    quality.expect_something_left()
    names = tuple(cohort.covariates)
    covariates = covariates_of(cohort.table, names, cohort.join, cohort.file)
    count = cohort.settings.parameters.principal_components
    all_names = (*names, *(f"PC{number + 1}" for number in range(count)))
    parameters = cohort.settings.parameters
    analysis = Analysis(
        traits=[],
        covariates=np.column_stack([covariates, _components(cohort, quality, count)]),
        samples=quality.samples,
        variants=quality.variants,
        missing=parameters.missing,
        threads=parameters.num_threads,
    )
    fit: list[tuple[Trait, AnalysisType]] = []
    unfit: dict[str, InputError] = {}
    for name in phenotypes:
        try:
            trait, kind = cohort.trait(name)
            _check_samples(cohort, analysis, trait, kind, all_names)
            fit.append((trait, kind))
        except InputError as error:
            unfit[name] = error
    return (Scan(cohort, replace(analysis, traits=fit), all_names) if fit else None), unfit


def _check_samples(
    cohort: Cohort, analysis: Analysis, trait: Trait, kind: AnalysisType, covariate_names: Sequence[str]
) -> None:
    used = analysis.used(trait)
    values = trait.values[used]
    if not len(values) or values.min() == values.max():
        raise InputError(
            f"the phenotype {trait.name!r} {'has one value only' if len(values) else 'has no value'} among the samples "
            "that pass quality control and have every covariate",
            remedy="fill in what is missing, or leave covariates out in job.yaml",
            file=cohort.file,
        )
    if kind in ("linear", "logistic"):
        check_covariates(analysis.covariates, covariate_names, used, cohort.file)


def _components(cohort: Cohort, quality: QualityReport, count: int) -> Floats:
    if count == 0:
        return np.empty((len(quality.samples), 0))
    return principal_components(cohort.dataset, quality.samples, quality.variants, quality.maf, count)


def gathered(
    batches: Iterator[dict[str, pa.RecordBatch]], rows: int = 1 << 15
) -> Iterator[dict[str, pa.RecordBatch]]:
    """The same rows in larger batches: each one costs the writer a row group."""
    held: dict[str, list[pa.RecordBatch]] = {}
    count = 0
    for each in batches:
        for name, batch in each.items():
            held.setdefault(name, []).append(batch)
        count += len(next(iter(each.values())))
        if count >= rows:
            yield {name: _joined(parts) for name, parts in held.items()}
            held, count = {}, 0
    if held:
        yield {name: _joined(parts) for name, parts in held.items()}


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    [batch] = pa.Table.from_batches(parts).unify_dictionaries().combine_chunks().to_batches()
    return batch
