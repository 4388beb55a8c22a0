"""Quality control of a cohort before it is tested: what is left out, each variant and sample with its reason.

The steps and their order are those of Anderson et al. (2010, doi:10.1038/nprot.2010.116) and Marees et al. (2018,
doi:10.1002/mpr.1608): samples first, over all variants; then variants, among the samples that are left. The first
reason that holds is the one that is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from genomics_assets.gwas.dataset import FEMALE, MALE, GenotypeDataset, haploid_in
from genomics_assets.gwas.genotype_matrix import (
    Bools,
    CallCounts,
    CallSums,
    Counts,
    Floats,
    count_calls,
    sample_mask,
)
from genomics_assets.gwas.job_settings import JobParameters
from genomics_assets.input_error import InputError
from genomics_assets.variants.hardy_weinberg import exact_p

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 8192
# The median absolute deviation of a normal distribution, times this, is its standard deviation.
_DEVIATION = 1.4826


class SampleRemoval(StrEnum):
    """Why a sample is left out."""

    NO_PHENOTYPES = "no_phenotypes"
    REPEATED_PHENOTYPES = "repeated_in_phenotypes"
    LOW_CALL_RATE = "low_call_rate"
    HETEROZYGOSITY = "heterozygosity_outlier"


class VariantRemoval(StrEnum):
    """Why a variant is left out."""

    DUPLICATE = "duplicate_variant"
    LOW_CALL_RATE = "low_call_rate"
    MONOMORPHIC = "monomorphic"
    LOW_FREQUENCY = "low_minor_allele_frequency"
    HARDY_WEINBERG = "hardy_weinberg"


@dataclass(frozen=True)
class QualityReport:
    """What passed and what did not.

    Attributes:
        samples: bool (samples,), those that passed.
        variants: bool (variants,), those that passed.
        sample_table: sample_id, call_rate, heterozygosity (share of heterozygous autosomal calls), reason, value.
        variant_table: the variants' columns, call_rate, maf, hwe_p, reason, value. `reason` is NULL for what passed,
            `value` the figure that decided where there is one.
    """

    samples: Bools
    variants: Bools
    sample_table: pa.Table
    variant_table: pa.Table

    @classmethod
    def of_tables(cls, sample_table: pa.Table, variant_table: pa.Table) -> QualityReport:
        """A report from its two tables."""
        passed = [
            np.asarray(table["reason"].is_null().to_numpy(), dtype=bool)
            for table in (sample_table, variant_table)
        ]
        return cls(passed[0], passed[1], sample_table, variant_table)

    @property
    def removed_samples(self) -> pa.Table:
        """The samples that were left out."""
        return self.sample_table.filter(self.sample_table["reason"].is_valid())

    @property
    def removed_variants(self) -> pa.Table:
        """The variants that were left out."""
        return self.variant_table.filter(self.variant_table["reason"].is_valid())

    @property
    def maf(self) -> Floats:
        """Minor allele frequencies, float64 (variants,), NaN where no call is known."""
        return _numbers(self.variant_table, "maf")

    @property
    def hwe_p(self) -> Floats:
        """Exact p of Hardy-Weinberg equilibrium, float64 (variants,), NaN where the test is not defined."""
        return _numbers(self.variant_table, "hwe_p")

    @property
    def call_rate(self) -> Floats:
        """Of the variants, among the samples that passed; float64 (variants,)."""
        return _numbers(self.variant_table, "call_rate")

    @property
    def sample_call_rate(self) -> Floats:
        """Of the samples, float64 (samples,)."""
        return _numbers(self.sample_table, "call_rate")

    def sample_reasons(self) -> dict[str, int]:
        """How many samples were left out, by reason, every reason named."""
        return _tally(SampleRemoval, self.removed_samples)

    def variant_reasons(self) -> dict[str, int]:
        """How many variants were left out, by reason, every reason named."""
        return _tally(VariantRemoval, self.removed_variants)

    def expect_something_left(self) -> None:
        """Make sure that there is something to test.

        Raises:
            InputError: no sample or no variant passed.
        """
        for what, kept, reasons in (
            ("sample", self.samples, self.sample_reasons()),
            ("variant", self.variants, self.variant_reasons()),
        ):
            if not kept.any():
                told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
                raise InputError(
                    f"no {what} of {len(kept):,} passes quality control ({told})",
                    remedy="look at the report of quality control, and loosen `parameters` in job.yaml where it is meant",
                )


def control_quality(
    cohort: GenotypeDataset,
    parameters: JobParameters,
    *,
    matched: Bools | None = None,
    repeated: Bools | None = None,
    cases: Bools | None = None,
) -> QualityReport:
    """Judge every sample and every variant of a cohort.

    Args:
        cohort: what is judged.
        parameters: the thresholds.
        matched: bool (samples,), those with phenotypes; None: all.
        repeated: bool (samples,), those whose id is on several lines of the phenotypes; None: none.
        cases: bool (samples,), cases of a binary trait; they do not count for Hardy-Weinberg equilibrium, for a true
            association may disturb it among them.
    """
    size = cohort.matrix.samples
    matched = np.ones(size, dtype=bool) if matched is None else matched
    repeated = np.zeros(size, dtype=bool) if repeated is None else repeated
    call_rate, heterozygosity = _sample_metrics(cohort)
    deviation = _robust_deviation(heterozygosity, matched & (1 - call_rate <= parameters.max_sample_missing))
    beyond = parameters.heterozygosity_deviations
    sample_reason = np.select(
        [
            repeated,
            ~matched,
            1 - call_rate > parameters.max_sample_missing,
            (np.abs(deviation) > beyond) & (beyond > 0),
        ],
        [reason.value for reason in (
            SampleRemoval.REPEATED_PHENOTYPES,
            SampleRemoval.NO_PHENOTYPES,
            SampleRemoval.LOW_CALL_RATE,
            SampleRemoval.HETEROZYGOSITY,
        )],
        "",
    )  # fmt: skip
    kept = sample_reason == ""
    sample_value = np.select(
        [sample_reason == SampleRemoval.LOW_CALL_RATE, sample_reason == SampleRemoval.HETEROZYGOSITY],
        [call_rate, deviation],
        np.nan,
    )
    metrics = _variant_metrics(cohort, kept, kept if cases is None else kept & ~cases)
    variant_reason, variant_value = _judge_variants(cohort, parameters, metrics)
    of_samples = {"call_rate": call_rate, "heterozygosity": heterozygosity}
    of_variants = {"call_rate": metrics.call_rate, "maf": metrics.maf, "hwe_p": metrics.hwe_p}
    return QualityReport(
        samples=kept,
        variants=variant_reason == "",
        sample_table=_judged(cohort.samples.select(["sample_id"]), of_samples, sample_reason, sample_value),
        variant_table=_judged(cohort.variants, of_variants, variant_reason, variant_value),
    )


@dataclass(frozen=True)
class _VariantMetrics:
    call_rate: Floats
    maf: Floats
    hwe_p: Floats
    monomorphic: Bools


def _sample_metrics(cohort: GenotypeDataset) -> tuple[Floats, Floats]:
    """Call rate, without chrY, and share of heterozygous calls on the autosomes, of each sample."""
    in_males, in_all = haploid_in(cohort.variants, cohort.build)
    on_y, autosomal = _is_on(cohort, "chrY"), ~in_males & ~in_all
    all_but_y, autosomes = CallSums(cohort.matrix.samples), CallSums(cohort.matrix.samples)
    only_autosomes = bool(autosomal.all())
    for start, rows in cohort.matrix.blocks(_BLOCK):
        here = slice(start, start + len(rows))
        if only_autosomes:
            autosomes.add(rows)
            continue
        all_but_y.add(rows[~on_y[here]])
        autosomes.add(rows[autosomal[here]])
    counted = autosomes if only_autosomes else all_but_y
    with np.errstate(invalid="ignore", divide="ignore"):
        call_rate = 1 - counted.missing / counted.variants
        heterozygosity = autosomes.one / (autosomes.variants - autosomes.missing)
    return np.nan_to_num(call_rate, nan=1.0), heterozygosity


def _robust_deviation(heterozygosity: Floats, among: Bools) -> Floats:
    """Deviations from the median, in robust standard deviations; 0 where there is no spread."""
    known = heterozygosity[among & np.isfinite(heterozygosity)]
    if known.size < 2:
        return np.zeros_like(heterozygosity)
    middle = np.median(known)
    spread = float(_DEVIATION * np.median(np.abs(known - middle)))
    return np.nan_to_num((heterozygosity - middle) / spread) if spread > 0 else np.zeros_like(heterozygosity)


def _variant_metrics(cohort: GenotypeDataset, kept: Bools, for_hwe: Bools) -> _VariantMetrics:
    variants, sex = cohort.matrix.variants, cohort.sex
    call_rate, maf, hwe_p = (np.full(variants, np.nan) for _ in range(3))
    monomorphic = np.zeros(variants, dtype=bool)
    in_males, in_all = haploid_in(cohort.variants, cohort.build)
    on_y = _is_on(cohort, "chrY")
    masks = {name: sample_mask(who) for name, who in {
        "kept": kept, "males": kept & (sex == MALE), "hwe": for_hwe, "hwe_females": for_hwe & (sex == FEMALE),
    }.items()}  # fmt: skip
    males_known = bool((kept & (sex == MALE)).any())
    for start, rows in cohort.matrix.blocks(_BLOCK):
        here = slice(start, start + len(rows))
        counts = count_calls(rows, masks["kept"])
        copies, alleles = counts.copies.astype(np.float64), 2.0 * counts.called
        total = np.full(len(rows), int(kept.sum()))
        if in_males[here].any() or on_y[here].any():
            male = count_calls(rows, masks["males"])
            copies -= np.where(in_males[here], male.copies / 2, 0)
            alleles -= np.where(in_males[here], male.called, 0)
            if males_known:
                counts = _where(on_y[here], male, counts)
                total = np.where(on_y[here], int((kept & (sex == MALE)).sum()), total)
        with np.errstate(invalid="ignore"):
            frequency = copies / alleles
            call_rate[here] = counts.called / total
        maf[here] = np.minimum(frequency, 1 - frequency)
        monomorphic[here] = (counts.copies == 0) | (counts.two == counts.called)
        hwe_p[here] = _hardy_weinberg(
            count_calls(rows, masks["hwe"]),
            count_calls(rows, masks["hwe_females"]) if in_males[here].any() else None,
            in_males[here],
            in_all[here],
        )
    return _VariantMetrics(np.nan_to_num(call_rate), maf, hwe_p, monomorphic)


def _hardy_weinberg(counts: CallCounts, females: CallCounts | None, in_males: Bools, in_all: Bools) -> Floats:
    """Exact p; on chrX among females; NaN where every call is haploid."""
    if females is not None:
        counts = _where(in_males, females, counts)
    p = exact_p(counts.one, counts.two, counts.none)
    p[in_all] = np.nan
    return p


def _where(condition: Bools, chosen: CallCounts, other: CallCounts) -> CallCounts:
    return CallCounts(*(np.where(condition, one, two) for one, two in zip(chosen, other, strict=True)))


def _judge_variants(
    cohort: GenotypeDataset, parameters: JobParameters, metrics: _VariantMetrics
) -> tuple[np.ndarray[tuple[int], np.dtype[np.str_]], Floats]:
    """The reason against each variant, empty where there is none, and the figure that decided."""
    rules = (
        (VariantRemoval.DUPLICATE, duplicates(cohort.variants), np.full(len(metrics.maf), np.nan)),
        (VariantRemoval.LOW_CALL_RATE, 1 - metrics.call_rate > parameters.max_missing, metrics.call_rate),
        (VariantRemoval.MONOMORPHIC, metrics.monomorphic, metrics.maf),
        (VariantRemoval.LOW_FREQUENCY, ~(metrics.maf >= parameters.maf_threshold), metrics.maf),
        (VariantRemoval.HARDY_WEINBERG, metrics.hwe_p < parameters.hwe_threshold, metrics.hwe_p),
    )
    conditions = [held for _, held, _ in rules]
    reason = np.select(conditions, [name.value for name, _, _ in rules], "")
    return reason, np.select(conditions, [value for _, _, value in rules], np.nan)


def duplicates(variants: pa.Table) -> Bools:
    """Which variants have the place and the pair of alleles, in either order, of one before them; bool (variants,)."""
    chromosome = variants["chromosome"].combine_chunks()
    codes = chromosome.indices.to_numpy().astype(np.int64)
    place = codes << 40 | variants["position"].to_numpy()
    _, which, times = np.unique(place, return_inverse=True, return_counts=True)
    repeated = np.zeros(len(place), dtype=bool)
    candidates: Counts = np.flatnonzero(times[which] > 1)
    seen: set[tuple[int, frozenset[str]]] = set()
    chosen = variants.select(["ref_allele", "alt_allele"]).take(candidates)
    alleles = zip(chosen["ref_allele"].to_pylist(), chosen["alt_allele"].to_pylist(), strict=True)
    for row, pair in zip(candidates.tolist(), alleles, strict=True):
        key = (int(place[row]), frozenset(pair))
        repeated[row] = key in seen
        seen.add(key)
    return repeated


def _is_on(cohort: GenotypeDataset, chromosome: str) -> Bools:
    import pyarrow.compute as pc

    found = pc.equal(cohort.variants["chromosome"].cast("string"), chromosome)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _judged(
    table: pa.Table,
    metrics: Mapping[str, Floats],
    reason: np.ndarray[tuple[int], np.dtype[np.str_]],
    value: Floats,
) -> pa.Table:
    import pyarrow as pa

    for name, numbers in {**metrics, "value": value}.items():
        if name == "value":
            words = pa.array(reason.tolist(), pa.string(), mask=reason == "")
            table = table.append_column("reason", words.dictionary_encode())
        table = table.append_column(name, pa.array(numbers, pa.float64(), mask=np.isnan(numbers)))
    return table


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def _tally(reasons: type[StrEnum], removed: pa.Table) -> dict[str, int]:
    found = Counter(removed["reason"].to_pylist())
    return {reason.value: found[reason.value] for reason in reasons}
