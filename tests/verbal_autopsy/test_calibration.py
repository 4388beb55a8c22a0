"""Calibrated fractions: equal to vacalibration's, and right where the answer is known without it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES, assign_broad_causes
from genomics_assets.verbal_autopsy.calibration import (
    ENSEMBLE,
    CalibratedFractions,
    CalibrationSettings,
    Posterior,
    calibrate,
    mixed_dirichlet,
)
from genomics_assets.verbal_autopsy.convergence import convergence
from genomics_assets.verbal_autopsy.hamiltonian import ChainSettings, hamiltonian_draws
from genomics_assets.verbal_autopsy.misclassification import (
    AS_DIRICHLET,
    MEAN,
    MisclassificationMatrices,
    read_matrices,
)
from genomics_assets.verbal_autopsy.reference_file import check_reference

QUICK = ChainSettings(chains=32, warm_up=150, draws=60)
COVERAGE_DATA_SETS = int(os.environ.get("GENOMICS_TEST_COVERAGE", "400"))


def draws(posterior: Posterior, chains: ChainSettings, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = [posterior.fractions(x) for x in hamiltonian_draws(posterior, posterior.start, chains, rng)]
    return np.swapaxes(np.array(found), 0, 1)


# -- against vacalibration ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neonates(shared_data: Path) -> dict[str, Any]:
    folder = shared_data / "verbal_autopsy"
    deaths = json.loads((folder / "comsamoz.json").read_text())["comsamoz_CCVAoutput"]["neonate"]
    return {
        "counts": {
            name: assign_broad_causes(table.get("cause") or table["cause1"], "neonate").counts
            for name, table in deaths.items()
        },
        "matrices": read_matrices(check_reference(folder / "ccva_missmat_long.csv")),
        "reference": json.loads((folder / "vacalibration_R22_neonate.json").read_text()),
    }


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [("Mmatprior", AS_DIRICHLET, "neonate_prior"), ("Mmatfixed", MEAN, "neonate_fixed")],
)
def test_posteriors_are_those_of_vacalibration(
    neonates: dict[str, Any], model: Any, kind: str, name: str
) -> None:
    counts, reference = neonates["counts"], neonates["reference"][name]
    matrices = {a: neonates["matrices"].matrix("neonate", a, "Mozambique", kind) for a in counts}
    chains = ChainSettings(64, 200, 200) if model == "Mmatprior" else ChainSettings(32, 150, 150)
    settings = CalibrationSettings(model=model, chains=chains)
    found = calibrate(counts, matrices, BROAD_CAUSES["neonate"], settings, ensemble=True)
    assert list(found) == ["eava", "insilicova", "interva", ENSEMBLE]
    for label, shares, post, kept in zip(
        found, reference["p_uncalib"], reference["post"], reference["donot"], strict=True
    ):
        fit, (mean, low, high) = found[label], np.array(post)
        np.testing.assert_allclose(fit.uncalibrated, shares, atol=1e-9)
        np.testing.assert_allclose(fit.mean, mean, atol=0.015)
        np.testing.assert_allclose(fit.bounds[0], low, atol=0.03)
        np.testing.assert_allclose(fit.bounds[1], high, atol=0.03)
        assert (~fit.calibrated).tolist() == kept
        assert fit.convergence.reached
    # R draws its lambdas by chance: 0.29 for InterVA two times out of three, 0.30 else.
    assert [found[a].path_lambda for a in counts] == [0.39, 0.29, 0.29]


# -- answers that need no reference ------------------------------------------------------------------------------------


def test_the_identity_gives_the_dirichlet_of_one_plus_counts() -> None:
    counts = np.array([30, 5, 65])
    fits = calibrate(
        {"x": counts},
        {"x": np.eye(3)},
        ("a", "b", "c"),
        CalibrationSettings(model="Mmatfixed", not_calibrated=(), chains=ChainSettings(64, 150, 150), seed=3),
    )
    alpha = 1 + counts
    mean = alpha / alpha.sum()
    np.testing.assert_allclose(fits["x"].mean, mean, atol=0.003)
    spread = np.sqrt(mean * (1 - mean) / (alpha.sum() + 1))
    np.testing.assert_allclose(fits["x"].draws.std(axis=(0, 1)), spread, rtol=0.06)


def test_two_causes_agree_with_quadrature() -> None:
    """One p and two rows: three numbers, over which the posterior can be summed up on a grid."""
    counts, alpha = np.array([[40, 60]]), np.array([[[16.0, 4.0], [3.0, 9.0]]])
    posterior = Posterior(counts, alpha, np.ones((1, 2), bool), fixed=False, prior=np.ones(2))
    found = draws(posterior, ChainSettings(64, 150, 120))[..., 0].mean()
    grid = (np.arange(160) + 0.5) / 160
    p, a, b = np.meshgrid(grid, grid, grid, indexing="ij")
    said = p * a + (1 - p) * (1 - b)
    log_weight = (
        40 * np.log(said) + 60 * np.log1p(-said)
        + 15 * np.log(a) + 3 * np.log1p(-a) + 8 * np.log(b) + 2 * np.log1p(-b)
    )  # fmt: skip
    weight = np.exp(log_weight - log_weight.max())
    assert found == pytest.approx((weight * p).sum() / weight.sum(), abs=0.006)


class ManyDataSets(Posterior):
    """The posterior of as many data sets as there are chains, each chain with counts of its own."""

    def of_counts(self, counts: np.ndarray) -> ManyDataSets:
        self.counts = counts.astype(float)
        return self


def test_intervals_hold_what_was_planted_as_often_as_they_say() -> None:
    """Draw p and M from the prior, counts from them, and count how often the 90 % interval holds p."""
    rng = np.random.default_rng(11)
    sets, alpha = COVERAGE_DATA_SETS, np.array([[[18.0, 4.0, 3.0], [2.0, 14.0, 4.0], [5.0, 3.0, 20.0]]])
    truth = rng.dirichlet(np.ones(3), size=sets)
    rows = np.stack([rng.dirichlet(row, size=sets) for row in alpha[0]], axis=1)
    counts = rng.multinomial(300, np.einsum("ni,nij->nj", truth, rows))[:, None]
    plain = ManyDataSets(counts[0], alpha, np.ones((1, 3), bool), fixed=False, prior=np.ones(3))
    found = draws(plain.of_counts(counts), ChainSettings(sets, 120, 120))
    low, high = np.quantile(found, [0.05, 0.95], axis=1)
    assert 0.87 <= ((low <= truth) & (truth <= high)).mean() <= 0.93


def test_the_order_of_the_causes_does_not_matter(matrices: MisclassificationMatrices) -> None:
    causes = BROAD_CAUSES["neonate"]
    counts = np.array([40, 70, 120, 80, 25, 65])
    alpha = matrices.matrix("neonate", "interva", "Exampleland", AS_DIRICHLET)
    order = np.array([3, 0, 5, 4, 1, 2])
    plain = calibrate({"x": counts}, {"x": alpha}, causes, CalibrationSettings(chains=QUICK))["x"]
    turned = calibrate(
        {"x": counts[order]},
        {"x": alpha[np.ix_(order, order)]},
        tuple(causes[at] for at in order),
        CalibrationSettings(chains=QUICK, seed=2),
    )["x"]
    np.testing.assert_allclose(turned.mean, plain.mean[order], atol=0.01)
    np.testing.assert_allclose(turned.bounds[1], plain.bounds[1][order], atol=0.03)


def test_draws_sum_to_one_and_other_keeps_its_share(fitted: dict[str, CalibratedFractions]) -> None:
    for fit in fitted.values():
        np.testing.assert_allclose(fit.draws.sum(axis=2), 1)
        assert (fit.draws >= 0).all()
        other = fit.causes.index("other")
        assert np.ptp(fit.draws[..., other]) == 0
        assert fit.mean[other] == pytest.approx(fit.uncalibrated[other])
        low, high = fit.bounds
        assert (low <= fit.mean + 1e-12).all()
        assert (fit.mean <= high + 1e-12).all()
    assert fitted[ENSEMBLE].counts.tolist() == [75, 145, 235, 170, 45, 130]
    assert all(fit.convergence.reached for fit in fitted.values())


def test_matrices_keep_rows_that_sum_to_one(fitted: dict[str, CalibratedFractions]) -> None:
    for name in ("interva", "insilicova"):
        for matrix in (fitted[name].prior_matrix, fitted[name].posterior_matrix):
            assert matrix is not None
            np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert fitted[ENSEMBLE].prior_matrix is None


def test_the_same_seed_gives_the_same_draws(matrices: MisclassificationMatrices) -> None:
    counts, alpha = (
        np.array([40, 70, 120, 80, 25, 65]),
        matrices.matrix("neonate", "eava", "Sampleland", AS_DIRICHLET),
    )
    one, same, other = (
        calibrate(
            {"eava": counts},
            {"eava": alpha},
            BROAD_CAUSES["neonate"],
            CalibrationSettings(chains=ChainSettings(4, 30, 20), seed=seed),
        )["eava"].draws
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_cause_without_deaths_stalls_path_correction_and_the_bounds_are_unsound(
    stalled: dict[str, CalibratedFractions],
) -> None:
    found = stalled["interva"]
    assert found.path_lambda == 0.99
    assert found.path_correction_stalled
    assert found.ci_unreliable
    np.testing.assert_allclose(found.mean, found.uncalibrated, atol=0.02)
    assert not stalled["insilicova"].ci_unreliable
    assert stalled[ENSEMBLE].stalled == ("interva",)
    assert "path correction stalled (interva)" in str(stalled[ENSEMBLE].interval_problem)


def test_without_path_correction_the_same_cause_is_no_trouble(matrices: MisclassificationMatrices) -> None:
    alpha = matrices.matrix("neonate", "interva", "Exampleland", AS_DIRICHLET)
    settings = CalibrationSettings(path_correction=False, chains=QUICK)
    fit = calibrate(
        {"x": np.array([0, 70, 120, 80, 25, 65])}, {"x": alpha}, BROAD_CAUSES["neonate"], settings
    )["x"]
    assert fit.path_lambda is None
    assert not fit.stalled
    assert fit.bounds[1][0] - fit.bounds[0][0] < 0.1


def test_causes_that_no_matrix_tells_apart_are_left_alone() -> None:
    alpha = np.full((3, 3), 10.0)
    fit = calibrate(
        {"x": np.array([5, 3, 2])}, {"x": alpha}, ("a", "b", "other"), CalibrationSettings(chains=QUICK)
    )["x"]
    assert not fit.calibrated.any()
    assert fit.mean.tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert fit.ci_unreliable


# -- the parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [False, True])
def test_the_gradient_is_that_of_the_density(fixed: bool) -> None:
    rng = np.random.default_rng(4)
    moved = np.array([[True, True, True], [False, True, True]])
    rows = rng.dirichlet(np.ones(3) * 4, size=(2, 3)) * (1 if fixed else 20)
    posterior = Posterior(
        np.array([[10, 5, 0], [3, 8, 9]]), rows, moved, fixed=fixed, prior=np.array([1.0, 2.0, 3.0])
    )
    x = posterior.start + rng.normal(size=(1, len(posterior.start))) * 0.3
    _, gradient = posterior(x)
    for at in range(x.shape[1]):
        step = np.zeros_like(x)
        step[0, at] = 1e-5
        slope = (posterior(x + step)[0] - posterior(x - step)[0]) / 2e-5
        assert gradient[0, at] == pytest.approx(slope[0], rel=1e-5, abs=1e-6)


def test_mixed_rows_are_those_of_many_random_ones() -> None:
    """R takes means over random rows; quadrature must come to what ever more of these come to."""
    alpha, mix = np.array([[12.0, 3.0, 5.0], [2.0, 9.0, 4.0], [1.0, 2.0, 6.0]]), 0.35
    found = mixed_dirichlet(alpha, mix)
    rng = np.random.default_rng(8)
    for row in range(3):
        rows = mix * np.eye(3)[row] + (1 - mix) * rng.dirichlet(alpha[row], size=400_000)
        logs = np.log((rows + 1e-5) / (1 + 3e-5)).mean(axis=0)
        # The likeliest concentration has expected logarithms, weighted by the mean, equal to those of the rows.
        from scipy.special import digamma

        mean = found[row] / found[row].sum()
        assert mean @ (digamma(found[row]) - digamma(found[row].sum())) == pytest.approx(
            mean @ logs, abs=1e-3
        )
        np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-3)


def test_chains_that_disagree_or_creep_are_noticed() -> None:
    rng = np.random.default_rng(6)
    good = rng.normal(size=(8, 400, 2))
    found = convergence(good)
    assert found.reached
    assert found.sample_size == pytest.approx(3200, rel=0.15)
    apart = good + np.arange(8)[:, None, None]
    assert convergence(apart).r_hat > 1.5
    creeping = np.cumsum(rng.normal(size=(8, 400, 1)), axis=1)
    assert not convergence(creeping).reached
    assert convergence(creeping).sample_size < 100
