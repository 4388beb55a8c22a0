"""Punnett crosses: gametes, the children of two genotypes, and how often each genotype and phenotype comes.

Each parent passes on one of its two alleles with equal chance (Mendel's first law); genes at several places assort
independently (the second law), except that all genes on the X and the Y chromosome share the child's sex. Shares are
exact fractions.

    >>> eyes = Gene.of("mendelian", ["B", "b"], [("brown", ["BB", "Bb"]), ("blue", ["bb"])])
    >>> children = cross(eyes, "Bb", "Bb")
    >>> ratio(children.genotypes()), ratio(eyes.phenotypes(children.genotypes()))
    ('1 BB : 2 Bb : 1 bb', '3 brown : 1 blue')
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import lcm

from genomics_assets.zygotrix.inheritance import (
    InheritanceError,
    InheritancePattern,
    Location,
    Y,
    allowed_genotypes,
    canonical_genotype,
    location_of,
    phenotype_of_genotype,
    split_genotype,
)

MAX_JOINT_TRAITS = 5
HALF = Fraction(1, 2)

Shares = dict[str, Fraction]


@dataclass(frozen=True)
class Gene:
    """A gene with its alleles and what each genotype looks like.

    Attributes:
        symbols: of the alleles.
        location: where the gene lies.
        phenotype: by canonical genotype.
    """

    symbols: tuple[str, ...]
    location: Location
    phenotype: Mapping[str, str]

    @classmethod
    def of(
        cls,
        pattern: InheritancePattern,
        symbols: Sequence[str],
        phenotypes: Sequence[tuple[str, Sequence[str]]],
    ) -> Gene:
        """The gene of a trait.

        Raises:
            InheritanceError: the phenotypes do not cover the genotypes, or the trait has no single gene.
        """
        if pattern == "polygenic":
            raise InheritanceError("a polygenic trait has no single gene to cross")
        return cls(tuple(symbols), location_of(pattern), phenotype_of_genotype(pattern, symbols, phenotypes))

    def phenotypes(self, genotypes: Mapping[str, Fraction]) -> Shares:
        """Shares of phenotypes from shares of genotypes."""
        shares: Shares = {}
        for genotype, share in genotypes.items():
            name = self.phenotype[genotype]
            shares[name] = shares.get(name, Fraction(0)) + share
        return shares

    def parents(self) -> Iterator[tuple[str, str]]:
        """Every pair of mother and father that the alleles allow; autosomal pairs once, whoever is the mother."""
        genotypes = allowed_genotypes(self.symbols, self.location)
        if self.location == "autosome":
            yield from ((a, b) for i, a in enumerate(genotypes) for b in genotypes[i:])
        elif self.location == "x":
            mothers = [genotype for genotype in genotypes if not genotype.endswith(Y)]
            yield from product(mothers, (g for g in genotypes if g not in mothers))
        elif self.location == "y":
            yield from (("", genotype) for genotype in genotypes)
        else:
            yield from product(genotypes, genotypes)


@dataclass(frozen=True)
class Children:
    """The children of a cross: shares of genotypes among daughters and among sons, each adding up to 1.

    A sex that does not have the gene has no shares.
    """

    daughters: Shares
    sons: Shares

    def genotypes(self) -> Shares:
        """Shares among all children that have the gene, daughters and sons being equally frequent."""
        both = [shares for shares in (self.daughters, self.sons) if shares]
        merged: Shares = {}
        for shares in both:
            for genotype, share in shares.items():
                merged[genotype] = merged.get(genotype, Fraction(0)) + share / len(both)
        return merged


def gametes(genotype: str, symbols: Sequence[str], location: Location = "autosome") -> Shares:
    """Shares of the alleles among a parent's gametes; for a man's X chromosome, `Y` is the other half.

    >>> gametes("Bb", ["B", "b"]) == {"B": HALF, "b": HALF}
    True
    >>> gametes("BB", ["B", "b"])
    {'B': Fraction(1, 1)}
    """
    alleles = split_genotype(genotype, symbols, location)
    shares: Shares = {}
    for allele in alleles:
        shares[allele] = shares.get(allele, Fraction(0)) + Fraction(1, len(alleles))
    return shares


def cross(gene: Gene, mother: str, father: str) -> Children:
    """The children of two parents.

    For a gene on the Y chromosome the mother's genotype is empty; mitochondria come from the mother alone.

    Raises:
        InheritanceError: a genotype that cannot be, a mother with a Y chromosome, or a father without.

    >>> blood = Gene.of("x_linked_recessive", ["H", "h"], [("clots", ["HH", "Hh", "HY"]), ("bleeds", ["hh", "hY"])])
    >>> children = cross(blood, "Hh", "HY")
    >>> ratio(children.daughters), ratio(children.sons)
    ('1 HH : 1 Hh', '1 HY : 1 hY')
    """
    if gene.location == "mitochondrion":
        split_genotype(father, gene.symbols, gene.location)
        inherited = gametes(mother, gene.symbols, gene.location)
        return Children(inherited, dict(inherited))
    if gene.location == "y":
        if mother:
            raise InheritanceError(f"a mother has no genotype for a gene on the Y chromosome, not {mother!r}")
        return Children({}, gametes(father, gene.symbols, gene.location))
    eggs = gametes(mother, gene.symbols, gene.location)
    sperm = gametes(father, gene.symbols, gene.location)
    if gene.location == "autosome":
        children = _united(eggs, sperm)
        return Children(children, dict(children))
    if Y in eggs or Y not in sperm:
        raise InheritanceError(
            f"a mother has two X chromosomes and a father one, not {mother!r} and {father!r}"
        )
    return Children(
        _united(eggs, {allele: Fraction(1) for allele in sperm if allele != Y}),
        _united(eggs, {Y: Fraction(1)}),
    )


def square(gene: Gene, mother: str, father: str) -> list[list[str]]:
    """The Punnett square: father's gametes in the first row, mother's in the first column, children between.

    >>> peas = Gene.of("mendelian", ["R", "r"], [("round", ["RR", "Rr"]), ("wrinkled", ["rr"])])
    >>> square(peas, "Rr", "rr")
    [['', 'r', 'r'], ['R', 'Rr', 'Rr'], ['r', 'rr', 'rr']]
    """
    if gene.location in ("y", "mitochondrion"):
        raise InheritanceError("a gene that only one parent passes on has no Punnett square")
    eggs = split_genotype(mother, gene.symbols, gene.location)
    sperm = split_genotype(father, gene.symbols, gene.location)
    return [["", *sperm], *([egg, *(canonical_genotype([egg, s]) for s in sperm)] for egg in eggs)]


def joint_phenotypes(crosses: Sequence[tuple[Gene, str, str]]) -> dict[tuple[str, ...], Fraction]:
    """Shares of every combination of phenotypes of up to 5 traits, for genes that are not linked to each other.

    Two genes on the X chromosome count as recombining freely in the mother; all sex-linked genes share the child's sex.

    Raises:
        InheritanceError: no trait or more than 5, or what `cross` refuses.

    >>> peas = Gene.of("mendelian", ["R", "r"], [("round", ["RR", "Rr"]), ("wrinkled", ["rr"])])
    >>> pods = Gene.of("mendelian", ["G", "g"], [("green", ["GG", "Gg"]), ("yellow", ["gg"])])
    >>> ratio(joint_phenotypes([(peas, "Rr", "Rr"), (pods, "Gg", "Gg")]))
    '9 round green : 3 round yellow : 3 wrinkled green : 1 wrinkled yellow'
    """
    if not 1 <= len(crosses) <= MAX_JOINT_TRAITS:
        raise InheritanceError(f"1 to {MAX_JOINT_TRAITS} traits can be crossed together, not {len(crosses)}")
    children = [(gene, cross(gene, mother, father)) for gene, mother, father in crosses]
    # A daughter has no phenotype of a gene on the Y chromosome.
    sexes = [
        [
            gene.phenotypes(shares) or {"": Fraction(1)}
            for gene, shares in ((g, getattr(c, sex)) for g, c in children)
        ]
        for sex in ("daughters", "sons")
    ]
    joint: dict[tuple[str, ...], Fraction] = {}
    for traits in sexes:
        for combination in product(*(shares.items() for shares in traits)):
            names = tuple(name for name, _ in combination)
            share = HALF
            for _, part in combination:
                share *= part
            joint[names] = joint.get(names, Fraction(0)) + share
    return joint


def ratio(shares: Mapping[str, Fraction] | Mapping[tuple[str, ...], Fraction]) -> str:
    """Shares as whole numbers with their names, in the order given.

    >>> ratio({"affected": Fraction(1, 4), "carrier": Fraction(1, 2)})
    '1 affected : 2 carrier'
    """
    whole = lcm(*(share.denominator for share in shares.values()))
    named = [(" ".join(name) if isinstance(name, tuple) else name, share) for name, share in shares.items()]
    return " : ".join(f"{int(share * whole)} {name}" for name, share in named)


def _united(eggs: Shares, sperm: Shares) -> Shares:
    children: Shares = {}
    for (egg, share), (seed, other) in product(eggs.items(), sperm.items()):
        genotype = canonical_genotype([egg, seed])
        children[genotype] = children.get(genotype, Fraction(0)) + share * other
    return children
