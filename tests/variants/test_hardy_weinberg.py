from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from genomics_assets.variants.hardy_weinberg import exact_p


def enumerated(het: int, hom_a: int, hom_b: int) -> Fraction:
    """The p value by the definition: every arrangement of the same alleles, in whole numbers."""
    n, copies = het + hom_a + hom_b, 2 * hom_a + het

    def arrangements(hets: int) -> int:
        a = (copies - hets) // 2
        return factorial(n) // (factorial(a) * factorial(hets) * factorial(n - a - hets)) * 2**hets

    every = [arrangements(h) for h in range(copies % 2, min(copies, 2 * n - copies) + 1, 2)]
    return Fraction(sum(w for w in every if w <= arrangements(het)), sum(every))


def test_agrees_with_enumeration_for_every_genotype_count_of_up_to_14_samples() -> None:
    triples = [(h, a, n - h - a) for n in range(1, 15) for h in range(n + 1) for a in range(n - h + 1)]
    expected = [float(enumerated(*triple)) for triple in triples]
    het, hom_alt, hom_ref = np.array(triples).T
    np.testing.assert_allclose(exact_p(het, hom_alt, hom_ref), expected, rtol=1e-12)


def test_agrees_with_enumeration_where_hundreds_are_sampled_and_p_is_minute() -> None:
    triples = [
        (0, 40, 360),
        (400, 0, 0),
        (37, 5, 300),
        (150, 100, 150),
        (2, 99, 1),
        (1, 0, 499),
        (0, 300, 300),
    ]
    expected = [float(enumerated(*triple)) for triple in triples]
    assert min(expected) < 1e-100
    het, hom_alt, hom_ref = np.array(triples).T
    np.testing.assert_allclose(exact_p(het, hom_alt, hom_ref), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("het", "hom_a", "hom_b", "published"),
    [
        (489, 298, 213, 0.6556635),  # the MN blood group, as R's HardyWeinberg prints it
        (57, 14, 50, 0.842279756570793),  # the example of the authors' SNP-HWE and its ports
        (100, 3, 5, 6.19509447581e-21),
        (31, 32, 51, 2.56377346576e-06),
        (47, 3, 5, 1.16298486151e-07),
        (13, 83, 4, 0.010293),  # this and the rest: the on-line calculator of PLINK's author
        (0, 500, 4, 1.033376916931e-10),
        (4, 500, 2, 0.0002050449518921),
        (0, 500, 500, 1.319669097657e-301),
    ],
)
def test_agrees_with_published_values(het: int, hom_a: int, hom_b: int, published: float) -> None:
    assert exact_p([het], [hom_a], [hom_b])[0] == pytest.approx(published, rel=5e-5)


def test_is_the_same_whichever_homozygote_is_called_alt() -> None:
    assert exact_p([10, 3], [5, 50], [50, 5]).tolist() == exact_p([10, 3], [50, 5], [5, 50]).tolist()


def test_rows_keep_their_order_when_many_are_alike() -> None:
    het, hom_alt, hom_ref = [4, 0, 4, 57, 0], [0, 2, 0, 14, 2], [0, 2, 0, 50, 2]
    single = [float(exact_p([h], [a], [r])[0]) for h, a, r in zip(het, hom_alt, hom_ref, strict=True)]
    assert exact_p(het, hom_alt, hom_ref).tolist() == single
    assert len(set(single)) == 3


def test_no_diploid_call_has_no_p_value() -> None:
    p = exact_p([0, 0], [0, 1], [0, 9])
    assert np.isnan(p[0])
    assert p[1] == pytest.approx(1 / 19)


def test_a_monomorphic_variant_is_in_equilibrium() -> None:
    assert exact_p([0, 0], [0, 80], [100, 0]).tolist() == [1.0, 1.0]


def test_half_a_million_samples_neither_overflow_nor_underflow_into_nonsense() -> None:
    n = 500_000
    p = exact_p([n, 0, 0], [0, 1, n // 2], [0, n - 1, n // 2])
    assert p[0] == 0.0
    assert p[1] == pytest.approx(1 / (2 * n - 1), rel=1e-12)
    assert p[2] == 0.0


def test_ten_thousand_distinct_triples_of_three_thousand_samples_give_probabilities() -> None:
    random = np.random.default_rng(3)
    het = random.integers(0, 3001, 10_000)
    hom_alt = (random.random(10_000) * (3001 - het)).astype(int)
    p = exact_p(het, hom_alt, 3000 - het - hom_alt)
    assert ((p >= 0) & (p <= 1)).all()


def test_nothing_in_nothing_out() -> None:
    assert exact_p([], [], []).shape == (0,)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        exact_p([1], [-1], [3])
    with pytest.raises(ValueError, match="shapes"):
        exact_p([1, 2], [1], [3])
