"""What call sets of people look like: ranges that quality checks hold a load against.

Ti/Tv is about 2.0 to 2.1 over whole genomes and 2.8 to 3.3 over exomes (DePristo et al. 2011, Nature Genetics 43:491);
random errors pull it towards 0.5. Het/hom-ALT is about 1.4 to 2.0 in outbred people by ancestry (Wang et al. 2015,
Bioinformatics 31:318). The ranges here are wider: they are to catch what is broken.
"""

from __future__ import annotations

from dataclasses import dataclass

TI_TV_RANGE = (1.5, 3.8)
HET_HOM_RANGE = (0.8, 4.0)
FEWEST_FOR_A_RATIO = 500


@dataclass(frozen=True)
class Expectation:
    """A ratio held against its range."""

    ratio: float | None
    met: bool
    sentence: str


def ti_tv_expectation(transitions: int, transversions: int) -> Expectation:
    """Hold transitions / transversions against the range for people.

    >>> ti_tv_expectation(2100, 1000).sentence
    'Ti/Tv 2.10, expected 1.5 to 3.8'
    """
    return _expect("Ti/Tv", transitions, transversions, TI_TV_RANGE)


def het_hom_expectation(het_calls: int, hom_alt_calls: int) -> Expectation:
    """Hold heterozygous / homozygous-ALT calls against the range for outbred people."""
    return _expect("het/hom", het_calls, hom_alt_calls, HET_HOM_RANGE)


def _expect(name: str, above: int, below: int, expected: tuple[float, float]) -> Expectation:
    if above + below < FEWEST_FOR_A_RATIO:
        return Expectation(None, True, f"only {above + below:,} counts: too few to judge {name}")
    if below == 0:
        return Expectation(None, False, f"{name} is infinite: {above:,} against none")
    ratio = above / below
    low, high = expected
    return Expectation(ratio, low <= ratio <= high, f"{name} {ratio:.2f}, expected {low} to {high}")
