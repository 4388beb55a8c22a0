"""Crosses and scores against answers worked out by hand, and against counting every child of a brute-force draw."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomics_assets.zygotrix.inheritance import (
    InheritanceError,
    allowed_genotypes,
    canonical_genotype,
    phenotype_of_genotype,
    split_genotype,
)
from genomics_assets.zygotrix.polygenic_score import (
    Population,
    ScoreError,
    expected_child,
    expected_population,
    polygenic_score,
    standing,
)
from genomics_assets.zygotrix.punnett import Gene, cross, gametes, joint_phenotypes, ratio, square
from genomics_assets.zygotrix.trait_catalogue import bundled_traits, crosses_table, gene_of

PEA_SHAPE = Gene.of("mendelian", ["R", "r"], [("round", ["RR", "Rr"]), ("wrinkled", ["rr"])])
PEA_COLOUR = Gene.of("mendelian", ["I", "i"], [("yellow", ["II", "Ii"]), ("green", ["ii"])])
ABO = Gene.of(
    "codominance",
    ["IA", "IB", "i"],
    [("A", ["IAIA", "IAi"]), ("B", ["IBIB", "IBi"]), ("AB", ["IAIB"]), ("O", ["ii"])],
)
HAEMOPHILIA = Gene.of(
    "x_linked_recessive", ["H", "h"], [("clots", ["HH", "Hh", "HY"]), ("bleeds", ["hh", "hY"])]
)
RICKETS = Gene.of(
    "x_linked_dominant", ["XR", "Xr"], [("rickets", ["XRXR", "XRXr", "XRY"]), ("well", ["XrXr", "XrY"])]
)

# -- genotypes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "symbols", "location", "alleles"),
    [
        ("bB", ["B", "b"], "autosome", ("B", "b")),
        ("iIB", ["IA", "IB", "i"], "autosome", ("IB", "i")),
        ("Rh-Rh+", ["Rh+", "Rh-"], "autosome", ("Rh+", "Rh-")),
        ("YXh", ["XH", "Xh"], "x", ("Xh", "Y")),
        ("ccCh", ["C", "cCh", "cH", "c"], "autosome", ("c", "cCh")),
        ("m", ["m", "w"], "mitochondrion", ("m",)),
    ],
)
def test_genotypes_are_read_as_written(written, symbols, location, alleles) -> None:  # type: ignore[no-untyped-def]
    assert split_genotype(written, symbols, location) == alleles


@pytest.mark.parametrize(
    ("written", "symbols", "location"),
    [
        ("BBB", ["B", "b"], "autosome"),
        ("B", ["B", "b"], "autosome"),
        ("Bx", ["B", "b"], "autosome"),
        ("", ["B", "b"], "autosome"),
        ("YY", ["H", "h"], "x"),
        ("HY", ["H", "h"], "autosome"),
        ("aba", ["a", "ab", "ba"], "autosome"),  # a + ba, or ab + a
    ],
)
def test_genotypes_that_cannot_be(written, symbols, location) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InheritanceError, match="genotype"):
        split_genotype(written, symbols, location)


def test_numbers_of_genotypes() -> None:
    for n in range(1, 6):
        symbols = [f"a{i}" for i in range(n)]
        assert len(allowed_genotypes(symbols)) == n * (n + 1) // 2
        assert len(allowed_genotypes(symbols, "x")) == n * (n + 1) // 2 + n
        assert len(allowed_genotypes(symbols, "y")) == n


@pytest.mark.parametrize(
    ("pattern", "phenotypes", "missing"),
    [
        ("mendelian", [("a", ["BB"]), ("b", ["bb"])], "Bb"),
        ("x_linked_recessive", [("a", ["BB", "Bb"]), ("b", ["bb"])], "BY, bY"),
        ("mitochondrial", [("a", ["B"])], "b"),
    ],
)
def test_phenotypes_must_cover_every_genotype(pattern, phenotypes, missing) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InheritanceError, match=f"no phenotype for genotype {missing}$"):
        phenotype_of_genotype(pattern, ["B", "b"], phenotypes)


def test_a_genotype_has_one_phenotype() -> None:
    with pytest.raises(InheritanceError, match="genotype Bb has two phenotypes"):
        phenotype_of_genotype("mendelian", ["B", "b"], [("a", ["BB", "Bb"]), ("b", ["bb", "bB"])])
    with pytest.raises(InheritanceError, match="same symbol"):
        phenotype_of_genotype("mendelian", ["B", "B"], [("a", ["BB"])])
    with pytest.raises(InheritanceError, match="Y chromosome"):
        phenotype_of_genotype("x_linked_recessive", ["Y", "h"], [])


# -- crosses, by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gene", "mother", "father", "genotypes", "phenotypes"),
    [
        (PEA_SHAPE, "RR", "rr", "1 Rr", "1 round"),
        (PEA_SHAPE, "Rr", "Rr", "1 RR : 2 Rr : 1 rr", "3 round : 1 wrinkled"),
        (PEA_SHAPE, "Rr", "rr", "1 Rr : 1 rr", "1 round : 1 wrinkled"),
        (ABO, "IAi", "IBi", "1 IAIB : 1 IAi : 1 IBi : 1 ii", "1 AB : 1 A : 1 B : 1 O"),
        (ABO, "IAIB", "ii", "1 IAi : 1 IBi", "1 A : 1 B"),
    ],
)
def test_autosomal_crosses(gene: Gene, mother: str, father: str, genotypes: str, phenotypes: str) -> None:
    children = cross(gene, mother, father)
    assert children.daughters == children.sons
    assert ratio(children.genotypes()) == genotypes
    assert ratio(gene.phenotypes(children.genotypes())) == phenotypes


@pytest.mark.parametrize(
    ("gene", "mother", "father", "daughters", "sons"),
    [
        # A carrier: no daughter bleeds, half of the sons do.
        (HAEMOPHILIA, "Hh", "HY", "1 clots", "1 clots : 1 bleeds"),
        # A father with haemophilia: all daughters carry it, no son has it from him.
        (HAEMOPHILIA, "HH", "hY", "1 clots", "1 clots"),
        (HAEMOPHILIA, "hh", "HY", "1 clots", "1 bleeds"),
        (HAEMOPHILIA, "Hh", "hY", "1 clots : 1 bleeds", "1 clots : 1 bleeds"),
        # An affected father and a dominant gene: every daughter, no son.
        (RICKETS, "XrXr", "XRY", "1 rickets", "1 well"),
        (RICKETS, "XRXr", "XrY", "1 rickets : 1 well", "1 rickets : 1 well"),
    ],
)
def test_x_linked_crosses(gene: Gene, mother: str, father: str, daughters: str, sons: str) -> None:
    children = cross(gene, mother, father)
    assert ratio(gene.phenotypes(children.daughters)) == daughters
    assert ratio(gene.phenotypes(children.sons)) == sons
    assert all(genotype.endswith("Y") for genotype in children.sons)
    assert not any(genotype.endswith("Y") for genotype in children.daughters)


def test_y_linked_and_mitochondrial_crosses() -> None:
    deaf = Gene.of("y_linked", ["D", "d"], [("deaf", ["D"]), ("hears", ["d"])])
    children = cross(deaf, "", "D")
    assert (children.daughters, ratio(deaf.phenotypes(children.sons))) == ({}, "1 deaf")
    sight = Gene.of("mitochondrial", ["m", "w"], [("loses sight", ["m"]), ("sees", ["w"])])
    assert ratio(sight.phenotypes(cross(sight, "m", "w").genotypes())) == "1 loses sight"
    assert ratio(sight.phenotypes(cross(sight, "w", "m").genotypes())) == "1 sees"


@pytest.mark.parametrize(
    ("gene", "mother", "father"),
    [(HAEMOPHILIA, "HY", "HY"), (HAEMOPHILIA, "HH", "HH"), (PEA_SHAPE, "R", "RR"), (PEA_SHAPE, "RR", "RY")],
)
def test_impossible_parents(gene: Gene, mother: str, father: str) -> None:
    with pytest.raises(InheritanceError):
        cross(gene, mother, father)


def test_gametes_and_the_square() -> None:
    assert gametes("Rr", ["R", "r"]) == {"R": Fraction(1, 2), "r": Fraction(1, 2)}
    assert square(HAEMOPHILIA, "Hh", "HY") == [["", "H", "Y"], ["H", "HH", "HY"], ["h", "Hh", "hY"]]


def test_two_traits_nine_three_three_one() -> None:
    joint = joint_phenotypes([(PEA_SHAPE, "Rr", "Rr"), (PEA_COLOUR, "Ii", "Ii")])
    assert joint == {
        ("round", "yellow"): Fraction(9, 16), ("round", "green"): Fraction(3, 16),
        ("wrinkled", "yellow"): Fraction(3, 16), ("wrinkled", "green"): Fraction(1, 16),
    }  # fmt: skip


def test_two_x_linked_traits_share_the_childs_sex() -> None:
    # Every daughter has rickets and clots, every son is well and bleeds: nothing in between.
    joint = joint_phenotypes([(RICKETS, "XrXr", "XRY"), (HAEMOPHILIA, "hh", "HY")])
    assert joint == {("rickets", "clots"): Fraction(1, 2), ("well", "bleeds"): Fraction(1, 2)}


def test_five_traits_at_most() -> None:
    assert sum(joint_phenotypes([(PEA_SHAPE, "Rr", "Rr")] * 5).values()) == 1
    for wrong in ([], [(PEA_SHAPE, "Rr", "Rr")] * 6):
        with pytest.raises(InheritanceError, match="1 to 5 traits"):
            joint_phenotypes(wrong)


# -- crosses, by counting ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_cross_counts_what_drawing_every_pair_of_gametes_counts(data: st.DataObject) -> None:
    symbols = data.draw(
        st.lists(st.sampled_from(["A", "a", "aB", "I+", "I-"]), min_size=1, max_size=4, unique=True)
    )
    pick = st.tuples(st.sampled_from(symbols), st.sampled_from(symbols))
    mother, father = data.draw(pick), data.draw(pick)
    names = {g: f"looks {i % 3}" for i, g in enumerate(allowed_genotypes(symbols))}
    gene = Gene.of("mendelian", symbols, [(name, [genotype]) for genotype, name in names.items()])
    children = cross(gene, canonical_genotype(mother), canonical_genotype(father)).genotypes()
    counted = Counter(canonical_genotype(pair) for pair in itertools.product(mother, father))
    assert {g: share * 4 for g, share in children.items()} == counted
    assert sum(gene.phenotypes(children).values()) == 1


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_the_catalogue_is_large_and_has_every_pattern() -> None:
    traits = bundled_traits()
    assert len(traits) >= 40
    assert {trait.inheritance_pattern for trait in traits} >= {
        "autosomal_dominant", "autosomal_recessive", "codominance", "incomplete_dominance", "x_linked_dominant",
        "x_linked_recessive", "y_linked", "mitochondrial",
    }  # fmt: skip
    human = [trait for trait in traits if "human" in trait.tags]
    assert len(human) >= 40
    for trait in human:
        assert trait.gene_info is not None
        assert trait.gene_info.genes, trait.key
        assert trait.references, trait.key
        assert trait.description, trait.key


def test_dominance_and_sex_linkage_of_the_catalogue_agree_with_its_patterns() -> None:
    for trait in bundled_traits():
        gene = gene_of(trait)
        genotypes = list(gene.phenotype)
        if trait.inheritance_pattern.startswith("autosomal") and len(set(gene.phenotype.values())) == 2:
            homozygote = {a.symbol * 2: a.dominant for a in trait.alleles}
            dominant = next(g for g, is_dominant in homozygote.items() if is_dominant)
            hetero = next(g for g in genotypes if g not in homozygote)
            assert gene.phenotype[hetero] == gene.phenotype[dominant], trait.key
        assert (gene.location == "x") == any(g.endswith("Y") and g[:-1] in gene.symbols for g in genotypes), (
            trait.key
        )
        if gene.location in ("x", "y") and "human" in trait.tags:
            assert trait.gene_info is not None
            assert trait.gene_info.chromosomes == [gene.location.upper()], trait.key
        if trait.inheritance_pattern == "x_linked_recessive":
            hidden = next(a.symbol for a in trait.alleles if not a.dominant)
            assert gene.phenotype[f"{hidden}Y"] == gene.phenotype[hidden * 2], trait.key


def test_every_cross_of_the_catalogue_is_tabulated() -> None:
    table = crosses_table(bundled_traits()).to_pylist()
    rows = {(row["trait_key"], row["mother"], row["father"]): row for row in table}
    assert len(rows) == len(table)
    assert rows["cystic_fibrosis", "Ff", "Ff"]["phenotype_ratio"] == "3 unaffected : 1 cystic fibrosis"
    carrier = rows["hemophilia_a", "Hh", "HY"]
    assert carrier["genotype_ratio"] == "1 HH : 1 Hh : 1 HY : 1 hY"
    assert (carrier["daughters"], carrier["sons"]) == ("1 unaffected", "1 unaffected : 1 haemophilia A")
    # Three genotypes make six pairs of parents; three of women and two of men make six as well.
    for key, pairs in (
        ("cystic_fibrosis", 6),
        ("hemophilia_a", 6),
        ("abo_blood_group", 21),
        ("deafness_dfny1", 2),
    ):
        assert sum(row["trait_key"] == key for row in table) == pairs


# -- polygenic scores --------------------------------------------------------------------------------------------------


def test_a_score_by_hand() -> None:
    score = polygenic_score({"a": 0.1, "b": -0.3, "c": 0.25, "d": 9.0}, {"a": 2, "b": 1, "c": 0.5, "e": 2})
    assert score.raw == pytest.approx(0.2 - 0.3 + 0.125)
    assert (score.used, score.missing) == (3, ("d",))
    assert polygenic_score({"a": 1.0}, {"a": 2 + 1e-9}).raw == 2.0


@pytest.mark.parametrize(
    ("weights", "dosages"),
    [({}, {"a": 1}), ({"a": math.nan}, {"a": 1}), ({"a": 1.0}, {"a": 2.1}), ({"a": 1.0}, {"a": -1})],
)
def test_what_no_score_can_be_made_of(weights: dict[str, float], dosages: dict[str, float]) -> None:
    with pytest.raises(ScoreError):
        polygenic_score(weights, dosages)


def test_percentiles_of_the_normal_distribution() -> None:
    population = Population(mean=1.0, sd=0.5)
    for z, percentile in ((0, 50.0), (1.959964, 97.5), (-1.644854, 5.0)):
        found = standing(1.0 + z * 0.5, population)
        assert found.z == pytest.approx(z)
        assert found.percentile == pytest.approx(percentile, abs=1e-4)
    with pytest.raises(ScoreError, match="standard deviation"):
        standing(1.0, Population(1.0, 0.0))


def test_the_population_and_the_children_are_what_drawing_them_gives() -> None:
    weights = {"a": 0.4, "b": -1.0, "c": 0.7}
    frequencies = {"a": 0.3, "b": 0.5, "c": 0.1}
    draw = random.Random(11)
    people = [
        {v: sum(draw.random() < f for _ in range(2)) for v, f in frequencies.items()} for _ in range(20_000)
    ]
    expected = expected_population(weights, frequencies)
    assert moments([polygenic_score(weights, p).raw for p in people]) == pytest.approx(
        (expected.mean, expected.sd), abs=0.02
    )
    mother, father = {"a": 1, "b": 1, "c": 2}, {"a": 0, "b": 1, "c": 1}
    child = expected_child(weights, mother, father)
    assert child.mean == pytest.approx(
        (polygenic_score(weights, mother).raw + polygenic_score(weights, father).raw) / 2
    )
    children = [
        {v: sum(draw.random() < parent[v] / 2 for parent in (mother, father)) for v in weights}
        for _ in range(20_000)
    ]
    assert moments([polygenic_score(weights, c).raw for c in children]) == pytest.approx(
        (child.mean, child.sd), abs=0.02
    )
    with pytest.raises(ScoreError, match="3 copies"):
        expected_child(weights, {**mother, "a": 3}, father)


def moments(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
