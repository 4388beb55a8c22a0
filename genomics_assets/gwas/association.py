"""Association of traits with variants, block by block, as a stream of Arrow record batches.

Every analysed variant gives a row, whether it could be tested or not: one that could not carries a reason. Effects are
those of one more copy of the effect allele. Males count 0 or 2 on chrX (PLINK 2's `--xchr-model 2`); on chrY and chrM
everybody counts 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from genomics_assets.blocks import BlockMap, in_threads
from genomics_assets.gwas.dataset import MALE, GenotypeDataset, haploid_in
from genomics_assets.gwas.genotype_matrix import (
    Bools,
    Bytes,
    CallCounts,
    Counts,
    Floats,
    count_calls,
    sample_mask,
)
from genomics_assets.gwas.job_settings import AnalysisType, Missing
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.tails import Tail

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 512
_WORD = 8

Progress = Callable[[int, int], None]


class Untested(StrEnum):
    """Why a variant has a row without a result."""

    NO_VARIATION = "no_variation"
    COLLINEAR = "collinear_with_covariates"
    TOO_FEW = "too_few_samples"
    ONE_CLASS = "cases_or_controls_only"
    NO_CONVERGENCE = "no_convergence"
    HAPLOID = "not_defined_for_haploid_calls"


@dataclass(frozen=True)
class Block:
    """Some variants of a cohort.

    Attributes:
        rows: uint8 (variants, bytes), filled up to whole 8-byte words.
        haploid_in_males: which lie on chrX, outside its pseudo-autosomal regions.
        haploid: which lie on chrY or chrM.
    """

    rows: Bytes
    haploid_in_males: Bools
    haploid: Bools

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Found:
    """Results of one trait for a block's variants; arrays of shape (variants,), NaN where there is none.

    Attributes:
        beta: change of the trait, or of the log odds, with one more copy.
        se: its standard error.
        statistic: t, z or chi-square, as the test has it.
        tail: p and -log10 p.
        n: samples that were tested.
        frequency: of the effect allele among them.
        test: the name of the test of each row.
        reason: an `Untested`, or empty.
    """

    beta: Floats
    se: Floats
    statistic: Floats
    tail: Tail
    n: Counts
    frequency: Floats
    test: npt.NDArray[np.object_]
    reason: npt.NDArray[np.object_]


class Test(Protocol):
    """What tests the variants of a block."""

    @property
    def names(self) -> Sequence[str]:
        """The traits that it tests."""
        ...

    def run(self, block: Block) -> list[Found]:
        """Results for each of the traits."""
        ...


@dataclass(frozen=True)
class Samples:
    """Who is analysed, and what is known of them besides their genotypes.

    Attributes:
        used: bool (samples,).
        basis: float64 (samples, k): an orthonormal basis of the intercept and the covariates, 0 where not used.
        sex: int8 (samples,), as in a cohort's table.
    """

    used: Bools
    basis: Floats
    sex: npt.NDArray[np.int8]
    mask: Bytes = field(init=False)
    males: Bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", sample_mask(self.used))
        object.__setattr__(self, "males", sample_mask(self.used & (self.sex == MALE)))

    @property
    def count(self) -> int:
        """How many are analysed."""
        return int(self.used.sum())

    @classmethod
    def of(cls, used: Bools, covariates: Floats, sex: npt.NDArray[np.int8]) -> Samples:
        """Samples with covariates, float64 (samples, covariates), known wherever `used`."""
        known = covariates[used]
        spread = known.std(axis=0) if len(known) else np.ones(covariates.shape[1])
        scaled = (known - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0) if len(known) else known
        design = np.column_stack([np.ones(len(known)), scaled])
        basis = np.zeros((len(used), design.shape[1]))
        if len(known) >= design.shape[1]:
            basis[used] = np.linalg.qr(design)[0]
        return cls(used, basis, sex)

    def frequency(self, block: Block, counts: CallCounts) -> Floats:
        """Of the effect allele; hemizygous calls count once."""
        copies, alleles = counts.copies.astype(np.float64), 2.0 * counts.called
        if block.haploid_in_males.any():
            male = count_calls(block.rows, self.males)
            copies -= np.where(block.haploid_in_males, male.copies / 2, 0.0)
            alleles -= np.where(block.haploid_in_males, male.called, 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(copies / alleles)

    def padded(self, columns: Floats) -> Floats:
        """Columns of the samples, with rows of 0 up to whole words of a genotype row; columns up to a multiple of 8."""
        rows, wide = 32 * (len(self.mask) // _WORD), -(-columns.shape[1] // 8) * 8
        filled = np.zeros((rows, wide))
        filled[: len(columns), : columns.shape[1]] = columns
        return filled


def products(basis: Floats) -> Floats:
    """Products of each two columns, the upper triangle row by row; (samples, k (k + 1) / 2)."""
    first, second = np.triu_indices(basis.shape[1])
    return np.asarray(basis[:, first] * basis[:, second])


@cache
def association_schema() -> pa.Schema:
    """Arrow schema of `associations.parquet`.

    `beta` is NULL for tests without an effect; `p_value` may be 0 where `neg_log10_p` still tells; `reason` is NULL for
    a variant that was tested.
    """
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("rsid", pa.string(), nullable=False),
            pa.field("chromosome", words, nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            pa.field("ref_allele", pa.string(), nullable=False),
            pa.field("alt_allele", pa.string(), nullable=False),
            pa.field("effect_allele", pa.string(), nullable=False),
            pa.field("beta", pa.float64()),
            pa.field("se", pa.float64()),
            pa.field("t_stat", pa.float64()),
            pa.field("p_value", pa.float64()),
            pa.field("neg_log10_p", pa.float64()),
            pa.field("effect_allele_frequency", pa.float64()),
            pa.field("maf", pa.float64()),
            pa.field("n_samples", pa.int32(), nullable=False),
            pa.field("test", words, nullable=False),
            pa.field("reason", words),
        ]
    )


@dataclass(frozen=True)
class Analysis:
    """What is to be tested in a cohort.

    Attributes:
        traits: each with its analysis.
        covariates: float64 (samples, covariates), NaN where missing.
        samples: bool (samples,), those that passed quality control.
        variants: bool (variants,), likewise.
        missing: how missing calls are handled.
        threads: how many test at a time.
    """

    traits: Sequence[tuple[Trait, AnalysisType]]
    covariates: Floats
    samples: Bools
    variants: Bools
    missing: Missing = "complete"
    threads: int = 2

    def used(self, trait: Trait) -> Bools:
        """The samples that a trait is analysed in: all is known of them but, perhaps, some calls."""
        return np.asarray(self.samples & trait.present & np.isfinite(self.covariates).all(axis=1))


def associate(
    cohort: GenotypeDataset,
    analysis: Analysis,
    progress: Progress | None = None,
    blocks: BlockMap = in_threads,
) -> Iterator[dict[str, pa.RecordBatch]]:
    """Test every variant that passed quality control against every trait, in one pass over the genotypes.

    Args:
        cohort: the genotypes.
        analysis: what is to be tested.
        progress: is told after each block how many variants are done and how many there are.
        blocks: where blocks are tested; the results do not depend on it.

    Yields:
        For each block of variants a record batch of `association_schema` by trait, in file order.
    """
    total, done = int(analysis.variants.sum()), 0
    in_males, in_all = haploid_in(cohort.variants, cohort.build)
    reader = _Reader(cohort, analysis.variants, in_males, in_all)
    starts = range(0, cohort.matrix.variants, BLOCK)
    tested = blocks(reader.read, _Tester(_tests(cohort, analysis)).run, starts, analysis.threads)
    for start, found in zip(starts, tested, strict=True):
        chosen = analysis.variants[start : start + BLOCK]
        if found:
            yield _batches(cohort, start, chosen, found)
        done += int(chosen.sum())
        if progress is not None:
            progress(done, total)


def _tests(cohort: GenotypeDataset, analysis: Analysis) -> list[Test]:
    from genomics_assets.gwas.contingency import ContingencyTest
    from genomics_assets.gwas.linear import LinearTest
    from genomics_assets.gwas.logistic import LogisticTest

    together: dict[bytes, list[Trait]] = {}
    tests: list[Test] = []
    for trait, kind in analysis.traits:
        used = analysis.used(trait)
        if kind == "linear":
            together.setdefault(used.tobytes(), []).append(trait)
            continue
        samples = Samples.of(used, analysis.covariates, cohort.sex)
        if kind == "logistic":
            tests.append(LogisticTest(trait, samples, analysis.missing))
        else:
            tests.append(ContingencyTest(trait, samples, kind))
    for traits in together.values():
        samples = Samples.of(analysis.used(traits[0]), analysis.covariates, cohort.sex)
        tests.append(LinearTest(traits, samples, analysis.missing))
    return tests


@dataclass(frozen=True)
class _Reader:
    """Reads blocks; called from several threads."""

    cohort: GenotypeDataset
    variants: Bools
    in_males: Bools
    in_all: Bools

    def read(self, start: int) -> Block:
        """The variants from `start` on that passed quality control, of the next `BLOCK`."""
        stop = min(start + BLOCK, self.cohort.matrix.variants)
        chosen = self.variants[start:stop]
        rows = padded_rows(self.cohort.matrix.rows(start, stop)[chosen])
        return Block(rows, self.in_males[start:stop][chosen], self.in_all[start:stop][chosen])


@dataclass(frozen=True)
class _Tester:
    """Has blocks tested; called from several threads, perhaps of other machines."""

    tests: Sequence[Test]

    def run(self, block: Block) -> dict[str, Found]:
        """Results by trait; none for an empty block."""
        if not len(block):
            return {}
        return {
            name: found
            for test in self.tests
            for name, found in zip(test.names, test.run(block), strict=True)
        }


def padded_rows(rows: Bytes) -> Bytes:
    """Rows filled up with zeros to whole 8-byte words."""
    width = -(-rows.shape[1] // _WORD) * _WORD
    if width == rows.shape[1]:
        return np.ascontiguousarray(rows)
    padded = np.zeros((len(rows), width), dtype=np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded


def _batches(
    cohort: GenotypeDataset, start: int, chosen: Bools, found: Mapping[str, Found]
) -> dict[str, pa.RecordBatch]:
    import pyarrow as pa

    slice_ = cohort.variants.slice(start, len(chosen))
    if not chosen.all():
        slice_ = slice_.filter(pa.array(chosen))
    return {name: association_batch(slice_, result) for name, result in found.items()}


def association_batch(variants: pa.Table, found: Found) -> pa.RecordBatch:
    """A record batch of `association_schema` from some rows of a cohort's table of variants and their results."""
    import pyarrow as pa

    def numbers(values: Floats) -> pa.Array:
        return pa.array(values, pa.float64(), mask=np.isnan(values))

    sites = {name: variants[name].combine_chunks() for name in variants.schema.names}
    columns = {
        **sites,
        "effect_allele": sites["alt_allele"],
        "beta": numbers(found.beta),
        "se": numbers(found.se),
        "t_stat": numbers(found.statistic),
        "p_value": numbers(found.tail.p),
        "neg_log10_p": numbers(found.tail.neg_log10),
        "effect_allele_frequency": numbers(found.frequency),
        "maf": numbers(np.minimum(found.frequency, 1 - found.frequency)),
        "n_samples": pa.array(found.n.astype(np.int32)),
        "test": pa.array(found.test).dictionary_encode(),
        "reason": pa.array(found.reason, pa.string(), mask=found.reason == "").dictionary_encode(),
    }
    schema = association_schema()
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def without_result(values: Floats, failed: Bools) -> Floats:
    """Values, NaN where a variant could not be tested."""
    return np.where(failed, np.nan, values)
