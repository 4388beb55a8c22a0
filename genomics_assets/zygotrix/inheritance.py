"""Which genotypes a trait's alleles allow, and how they are written.

An autosomal genotype has two alleles. On the X chromosome females have two and males one, written with a `Y` at the
end (`hY`). Genes on the Y chromosome and in mitochondria have one allele; only males have a Y. The canonical form of a
genotype has its alleles in ascending order, upper case before lower case, `Y` last.

Source: Strachan & Read, Human Molecular Genetics, chapters on single-gene inheritance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Literal

InheritancePattern = Literal[
    "mendelian", "autosomal_dominant", "autosomal_recessive", "codominance", "incomplete_dominance",
    "x_linked_dominant", "x_linked_recessive", "x_linked_codominance", "y_linked", "mitochondrial", "polygenic",
]  # fmt: skip
Location = Literal["autosome", "x", "y", "mitochondrion"]

Y = "Y"
_LOCATIONS: Mapping[str, Location] = {
    "x_linked_dominant": "x",
    "x_linked_recessive": "x",
    "x_linked_codominance": "x",
    "y_linked": "y",
    "mitochondrial": "mitochondrion",
}


class InheritanceError(ValueError):
    """Alleles, genotypes and phenotypes that do not fit together."""


def location_of(pattern: InheritancePattern) -> Location:
    """Where the gene of a trait lies.

    >>> location_of("x_linked_recessive"), location_of("codominance")
    ('x', 'autosome')
    """
    return _LOCATIONS.get(pattern, "autosome")


def canonical_genotype(alleles: Iterable[str]) -> str:
    """The genotype of some alleles, `Y` among them for a male's genes on the X chromosome.

    >>> canonical_genotype(["b", "B"]), canonical_genotype(["Y", "h"]), canonical_genotype(["i", "IA"])
    ('Bb', 'hY', 'IAi')
    """
    return "".join(sorted(alleles, key=lambda symbol: (symbol == Y, symbol)))


def split_genotype(genotype: str, symbols: Sequence[str], location: Location = "autosome") -> tuple[str, ...]:
    """The alleles of a genotype as written, in canonical order.

    Raises:
        InheritanceError: it cannot be read with these symbols, in one way, as a genotype of this place.

    >>> split_genotype("iIA", ["IA", "IB", "i"])
    ('IA', 'i')
    >>> split_genotype("XhY", ["XH", "Xh"], "x")
    ('Xh', 'Y')
    """
    known = [*symbols, Y] if location == "x" else list(symbols)
    number = 2 if location in ("autosome", "x") else 1
    readings = {canonical_genotype(found): found for found in _readings(genotype, known, number)}
    readings = {text: found for text, found in readings.items() if list(found) != [Y, Y]}
    if not readings:
        raise InheritanceError(
            f"genotype {genotype!r} is not made of {number} of the alleles {', '.join(known)}"
        )
    if len(readings) > 1:
        raise InheritanceError(f"genotype {genotype!r} can be read as {' and as '.join(sorted(readings))}")
    [found] = readings.values()
    return tuple(sorted(found, key=lambda symbol: (symbol == Y, symbol)))


def allowed_genotypes(symbols: Sequence[str], location: Location = "autosome") -> list[str]:
    """Every genotype that the alleles allow, in canonical form: those of females first.

    >>> allowed_genotypes(["B", "b"])
    ['BB', 'Bb', 'bb']
    >>> allowed_genotypes(["H", "h"], "x")
    ['HH', 'Hh', 'hh', 'HY', 'hY']
    """
    ordered = sorted(set(symbols))
    if location in ("y", "mitochondrion"):
        return ordered
    pairs = [canonical_genotype(pair) for pair in combinations_with_replacement(ordered, 2)]
    return pairs + ([symbol + Y for symbol in ordered] if location == "x" else [])


def phenotype_of_genotype(
    pattern: InheritancePattern, symbols: Sequence[str], phenotypes: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, str]:
    """Phenotype by canonical genotype, for every genotype that the alleles allow.

    Args:
        pattern: how the trait is inherited.
        symbols: of its alleles.
        phenotypes: name and genotypes of each.

    Raises:
        InheritanceError: no or equal alleles, a genotype that cannot be, one without a phenotype, or one with two.

    >>> phenotype_of_genotype("mendelian", ["B", "b"], [("brown", ["BB", "bB"]), ("blue", ["bb"])])
    {'BB': 'brown', 'Bb': 'brown', 'bb': 'blue'}
    """
    if pattern == "polygenic":
        return {}
    location = location_of(pattern)
    if not symbols or len(set(symbols)) != len(symbols):
        raise InheritanceError("alleles are missing, or two have the same symbol")
    if location == "x" and Y in symbols:
        raise InheritanceError("Y stands for the Y chromosome and cannot be an allele on the X chromosome")
    found: dict[str, str] = {}
    for name, genotypes in phenotypes:
        for written in genotypes:
            genotype = canonical_genotype(split_genotype(written, symbols, location))
            if found.setdefault(genotype, name) != name:
                raise InheritanceError(f"genotype {genotype} has two phenotypes")
    allowed = allowed_genotypes(symbols, location)
    missing = [genotype for genotype in allowed if genotype not in found]
    if missing:
        raise InheritanceError(f"no phenotype for genotype {', '.join(missing)}")
    return {genotype: found[genotype] for genotype in allowed}


def _readings(text: str, symbols: Sequence[str], number: int) -> list[tuple[str, ...]]:
    if number == 0:
        return [()] if not text else []
    return [
        (symbol, *rest)
        for symbol in symbols
        if text.startswith(symbol)
        for rest in _readings(text[len(symbol) :], symbols, number - 1)
    ]
