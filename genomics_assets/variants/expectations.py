"""What call sets of people look like: ranges that quality checks hold a load against.

Ti/Tv is about 2.0 to 2.1 over whole genomes and 2.8 to 3.3 over exomes (DePristo et al. 2011, Nature Genetics 43:491);
random errors pull it towards 0.5. Het/hom-ALT is about 1.4 to 2.0 in outbred people by ancestry (Wang et al. 2015,
Bioinformatics 31:318). The ranges here are wider: they are to catch what is broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

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


class Reference(Protocol):
    """A genome's bases."""

    def fetch(self, chrom: str, start0: int, end0: int) -> str:
        """Bases of a 0-based, half-open interval, upper case; shorter or empty beyond the contig.

        Raises:
            KeyError: there is no such contig.
        """


@dataclass
class ReferenceAgreement:
    """How REF alleles compare with a genome."""

    compared: int = 0
    different: int = 0
    absent: int = 0
    examples: list[str] = field(default_factory=list)


def compare_with_reference(
    alleles: Iterable[tuple[str, int, str]], reference: Reference
) -> ReferenceAgreement:
    """Hold (chrom, 1-based pos, ref) against a genome; N in the genome agrees with any base."""
    agreement = ReferenceAgreement()
    for chrom, pos, ref in alleles:
        try:
            bases = reference.fetch(chrom, pos - 1, pos - 1 + len(ref))
        except KeyError:
            agreement.absent += 1
            continue
        agreement.compared += 1
        if len(bases) == len(ref) and all(b in ("N", r) for b, r in zip(bases, ref, strict=True)):
            continue
        agreement.different += 1
        if len(agreement.examples) < 5:
            agreement.examples.append(f"{chrom}:{pos} {ref[:20]}, reference {bases[:20]}")
    return agreement


def _expect(name: str, above: int, below: int, expected: tuple[float, float]) -> Expectation:
    if above + below < FEWEST_FOR_A_RATIO:
        return Expectation(None, True, f"only {above + below:,} counts: too few to judge {name}")
    if below == 0:
        return Expectation(None, False, f"{name} is infinite: {above:,} against none")
    ratio = above / below
    low, high = expected
    return Expectation(ratio, low <= ratio <= high, f"{name} {ratio:.2f}, expected {low} to {high}")
