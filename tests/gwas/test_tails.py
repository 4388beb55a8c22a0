from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import stats

from genomics_assets.gwas.tails import chi_square_1, chi_square_2, two_sided_normal, two_sided_t


@pytest.mark.parametrize(
    ("t", "freedom"), [(0.0, 5), (2.5, 3), (8.0, 1000), (40.0, 400), (60.0, 900), (400.0, 2000)]
)
def test_t_is_right_near_and_far(t: float, freedom: int) -> None:
    with mpmath.workdps(40):
        x = mpmath.mpf(freedom) / (freedom + mpmath.mpf(t) ** 2)
        exact = mpmath.betainc(mpmath.mpf(freedom) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)
        expected = float(-mpmath.log10(exact))
    tail = two_sided_t([t], [freedom])
    assert tail.neg_log10[0] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("z", [0.0, 1.96, 12.0, 37.0, 60.0])
def test_the_normal_is_right_near_and_far(z: float) -> None:
    with mpmath.workdps(40):
        expected = float(-mpmath.log10(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2))))
    assert two_sided_normal([z]).neg_log10[0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_chi_squares_are_those_of_scipy() -> None:
    x = np.array([0.0, 0.5, 3.84, 30.0, 200.0])
    np.testing.assert_allclose(chi_square_1(x).p, stats.chi2.sf(x, 1))
    np.testing.assert_allclose(chi_square_2(x).p, stats.chi2.sf(x, 2))
    assert chi_square_2([5000.0]).neg_log10[0] == pytest.approx(2500 / np.log(10))


def test_nothing_stays_nothing() -> None:
    assert np.isnan(two_sided_t([np.nan], [5])).all()
