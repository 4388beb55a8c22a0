"""Polygenic scores: the weighted sum of effect alleles, where it stands in a population, and what parents pass on.

Source: Choi, Mak & O'Reilly, Tutorial: a guide to performing polygenic risk score analyses, Nature Protocols 2020; the
variance among siblings is that of Mendelian sampling (Falconer & Mackay, Introduction to Quantitative Genetics).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

# Imputed dosages overshoot by rounding.
TOLERANCE = 1e-6


class ScoreError(ValueError):
    """Weights, dosages or a population that no score can be made of."""


@dataclass(frozen=True)
class PolygenicScore:
    """A person's score.

    Attributes:
        raw: sum of weight times dosage over the variants that were called.
        used: how many variants that were.
        missing: variants with a weight that were not called, in the order of the weights.
    """

    raw: float
    used: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """Where a score stands in a population: `z` in standard deviations, `percentile` from 0 to 100."""

    z: float
    percentile: float


@dataclass(frozen=True)
class Population:
    """Mean and standard deviation of raw scores."""

    mean: float
    sd: float


def polygenic_score(weights: Mapping[str, float], dosages: Mapping[str, float | None]) -> PolygenicScore:
    """Score a person.

    Args:
        weights: effect of one copy of the effect allele, by variant.
        dosages: copies of the effect allele, 0 to 2, by variant; None or absent where it was not called.

    Raises:
        ScoreError: no weights, a weight that is not finite, or a dosage outside 0 to 2.

    >>> polygenic_score({"rs1": 0.5, "rs2": -0.2, "rs3": 1.0}, {"rs1": 2, "rs2": 1, "rs3": None})
    PolygenicScore(raw=0.8, used=2, missing=('rs3',))
    """
    if not weights:
        raise ScoreError("a score without weights")
    products: list[float] = []
    missing: list[str] = []
    for variant, weight in weights.items():
        if not math.isfinite(weight):
            raise ScoreError(f"the weight of {variant} is {weight}")
        dosage = dosages.get(variant)
        if dosage is None:
            missing.append(variant)
        else:
            products.append(weight * _dosage(variant, dosage))
    return PolygenicScore(math.fsum(products), len(products), tuple(missing))


def standing(raw: float, population: Population) -> Standing:
    """Where a raw score stands among normally distributed scores.

    Raises:
        ScoreError: the population has no spread.

    >>> standing(12.0, Population(mean=10.0, sd=2.0))
    Standing(z=1.0, percentile=84.1344746068543)
    """
    if not (population.sd > 0 and math.isfinite(population.sd)):
        raise ScoreError(f"a standard deviation of {population.sd}")
    z = (raw - population.mean) / population.sd
    return Standing(z, 100 * NormalDist().cdf(z))


def expected_population(weights: Mapping[str, float], frequencies: Mapping[str, float]) -> Population:
    """Mean and standard deviation from allele frequencies, in Hardy-Weinberg and linkage equilibrium.

    Raises:
        ScoreError: a variant without a frequency from 0 to 1.

    >>> expected_population({"rs1": 2.0}, {"rs1": 0.5})
    Population(mean=2.0, sd=1.4142135623730951)
    """
    mean, variance = [], []
    for variant, weight in weights.items():
        frequency = frequencies.get(variant)
        if frequency is None or not 0 <= frequency <= 1:
            raise ScoreError(f"the frequency of {variant} is {frequency}")
        mean.append(2 * frequency * weight)
        variance.append(2 * frequency * (1 - frequency) * weight**2)
    return Population(math.fsum(mean), math.sqrt(math.fsum(variance)))


def expected_child(
    weights: Mapping[str, float], mother: Mapping[str, int | None], father: Mapping[str, int | None]
) -> Population:
    """What the scores of a couple's children are distributed like, for unlinked variants on autosomes.

    The mean is that of the parents' scores; each heterozygous parent adds weight² / 4 to the variance. A variant that
    is missing in one parent is left out of both.

    Raises:
        ScoreError: a genotype other than 0, 1 or 2.

    >>> expected_child({"rs1": 1.0, "rs2": 2.0}, {"rs1": 1, "rs2": 2}, {"rs1": 1, "rs2": 0})
    Population(mean=3.0, sd=0.7071067811865476)
    """
    mean, variance = [], []
    for variant, weight in weights.items():
        parents = [mother.get(variant), father.get(variant)]
        if None in parents:
            continue
        for copies in parents:
            if copies not in (0, 1, 2):
                raise ScoreError(f"a parent has {copies} copies of {variant}")
            mean.append(weight * copies / 2)
            variance.append(weight**2 / 4 if copies == 1 else 0.0)
    return Population(math.fsum(mean), math.sqrt(math.fsum(variance)))


def _dosage(variant: str, dosage: float) -> float:
    if not -TOLERANCE <= dosage <= 2 + TOLERANCE:
        raise ScoreError(f"the dosage of {variant} is {dosage}, not 0 to 2")
    return min(max(dosage, 0.0), 2.0)
