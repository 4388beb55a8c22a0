"""Calibrated cause-specific mortality fractions: what the true fractions are, given how an algorithm errs.

Model, for each algorithm k with counts y_k over C broad causes and a misclassification matrix M_k:

    y_k ~ Multinomial(n_k, M_k' p),  p ~ Dirichlet(1 + C eta p_0),  M_k[i, ] ~ Dirichlet(alpha_k[i, ])

with M_k fixed at its mean in the model `Mmatfixed`. An ensemble is one p for several algorithms. `other`, and causes whose
column of the matrix hardly varies, keep their uncalibrated share. Path correction draws M towards the identity by lambda,
just as far as the observed fractions need to be explained by it.
Source: Pramanik et al. (2025), Annals of Applied Statistics 19:1214; Fiksel et al. (2022), Statistics in Medicine; and
the behaviour of the R package vacalibration 2.2 (MIT). Two things are done otherwise there: the mixed rows' Dirichlet
concentrations come from random draws of an unseeded generator, here from quadrature; sampling is by Stan, here by
vectorised Hamiltonian Monte Carlo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from genomics_assets.verbal_autopsy.broad_causes import OTHER
from genomics_assets.verbal_autopsy.convergence import Convergence, convergence
from genomics_assets.verbal_autopsy.hamiltonian import ChainSettings, hamiltonian_draws

ENSEMBLE = "ensemble"
Model = Literal["Mmatprior", "Mmatfixed"]
Progress = Callable[[str, float], None]

LEAST_COLUMN_RANGE = 0.1
LAMBDA_STEP = 0.01
# With rows that are random, lambda = 1 would leave nothing to chance.
LARGEST_LAMBDA: dict[Model, float] = {"Mmatprior": 0.99, "Mmatfixed": 1.0}
SHRINKAGE_WITHOUT_PATH = 4.0
NUDGE = 1e-5
QUADRATURE_POINTS = 400
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class CalibrationSettings:
    """What is fitted and how much is sampled.

    Attributes:
        model: rows of the matrix drawn about their mean, or fixed there.
        path_correction: draw the matrix towards the identity where the data ask for it.
        not_calibrated: causes that keep their uncalibrated share, whatever the matrix says.
        learn_not_calibrated: also those whose column hardly varies.
        chains: how much is sampled.
        seed: the same one gives the same draws.
    """

    model: Model = "Mmatprior"
    path_correction: bool = True
    not_calibrated: tuple[str, ...] = (OTHER,)
    learn_not_calibrated: bool = True
    chains: ChainSettings = field(default_factory=ChainSettings)
    seed: int = 1


@dataclass(frozen=True)
class CalibratedFractions:
    """The fractions of C causes by one algorithm or by the ensemble.

    Attributes:
        label: the algorithm, or `ensemble`.
        causes: the C causes.
        counts: (C,) int64, deaths by the cause that the algorithm said; for the ensemble those of all of them.
        uncalibrated: (C,) float64, their shares.
        draws: (chains, draws, C) float64, each sums to one.
        calibrated: (C,) bool, the causes that the model moved.
        path_lambda: how far the matrix was drawn to the identity; None without path correction and for the ensemble.
        prior_matrix: (C, C) float64, mean of the matrix as modelled; None for the ensemble.
        posterior_matrix: likewise, given the data.
        convergence: of the chains.
        stalled: the algorithms whose path correction found no way at all, so that calibration does next to nothing.
    """

    label: str
    causes: tuple[str, ...]
    counts: np.ndarray
    uncalibrated: np.ndarray
    draws: np.ndarray = field(repr=False)
    calibrated: np.ndarray
    path_lambda: float | None
    prior_matrix: np.ndarray | None = field(repr=False)
    posterior_matrix: np.ndarray | None = field(repr=False)
    convergence: Convergence
    stalled: tuple[str, ...] = ()

    @property
    def mean(self) -> np.ndarray:
        """(C,) posterior means."""
        return np.asarray(self.draws.mean(axis=(0, 1)))

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(C,) lower and upper bounds of the 95 % credible intervals."""
        low, high = np.quantile(self.draws.reshape(-1, len(self.causes)), INTERVAL, axis=0)
        return low, high

    @property
    def path_correction_stalled(self) -> bool:
        """Whether an algorithm's path correction stalled, as a cause without any death makes it do."""
        return bool(self.stalled)

    @property
    def interval_problem(self) -> str | None:
        """Why the bounds are not to be reported; None where they are sound."""
        if self.stalled:
            return f"path correction stalled ({', '.join(self.stalled)}), and the interval would be far too narrow"
        if self.calibrated.sum() < 2:
            return "fewer than two causes can be calibrated"
        if not self.convergence.reached:
            return "the chains did not converge"
        return None

    @property
    def ci_unreliable(self) -> bool:
        """Whether the bounds are not to be reported."""
        return self.interval_problem is not None


def calibrate(
    counts: Mapping[str, np.ndarray],
    matrices: Mapping[str, np.ndarray],
    causes: tuple[str, ...],
    settings: CalibrationSettings,
    *,
    ensemble: bool = False,
    progress: Progress = lambda label, share: None,
) -> dict[str, CalibratedFractions]:
    """Calibrated fractions of each algorithm, and of the ensemble of all where that is asked for.

    Args:
        counts: for each algorithm (C,) deaths by cause, not all zero.
        matrices: for each (C, C): Dirichlet parameters for `Mmatprior`, mean rows for `Mmatfixed`.
        causes: the C causes.
        settings: what is fitted and how much is sampled.
        ensemble: fit one p for all algorithms as well.
        progress: told the label of what is fitted, and the share of it that is done.
    """
    fits: dict[str, _Fit] = {}
    for at, name in enumerate(counts):
        sampler = _Sampler(settings, at, partial(progress, name))
        fits[name] = _fit_one(
            name, np.asarray(counts[name]), np.asarray(matrices[name], float), causes, sampler
        )
    found = {name: fit.fractions for name, fit in fits.items()}
    if ensemble and len(fits) > 1:
        sampler = _Sampler(settings, len(fits), partial(progress, ENSEMBLE))
        found[ENSEMBLE] = _fit_ensemble(list(fits.values()), causes, sampler)
    return found


@dataclass(frozen=True)
class _Fit:
    """What the ensemble needs of one algorithm: (C, C) rows as modelled, the identity outside of the calibrated part."""

    fractions: CalibratedFractions
    rows: np.ndarray


def _fit_one(
    name: str,
    counts: np.ndarray,
    matrix: np.ndarray,
    causes: tuple[str, ...],
    sampler: _Sampler,
) -> _Fit:
    settings = sampler.settings
    shares = counts / counts.sum()
    fixed = settings.model == "Mmatfixed"
    moved = _calibrated(matrix, causes, settings)
    kept = np.flatnonzero(moved)
    block = matrix[np.ix_(kept, kept)]
    path_lambda, stalled = 0.0, False
    if len(kept) > 1 and settings.path_correction:
        observed = shares[kept] / shares[kept].sum() if shares[kept].sum() > 0 else shares[kept]
        path_lambda, stalled = _path_lambda(_row_shares(block), observed, settings.model)
    if len(kept) > 1 and fixed:
        block = _towards_identity(_row_shares(block), path_lambda)
    elif len(kept) > 1 and settings.path_correction:
        block = mixed_dirichlet(block, path_lambda)
    rows = np.eye(len(causes))
    rows[np.ix_(kept, kept)] = block
    sampled = sampler.draw(counts[None], rows[None], moved[None], shares)
    return _Fit(
        CalibratedFractions(
            label=name,
            causes=causes,
            counts=counts,
            uncalibrated=shares,
            draws=sampled.fractions,
            calibrated=moved,
            path_lambda=path_lambda if settings.path_correction else None,
            prior_matrix=_row_shares(rows),
            posterior_matrix=sampled.matrices[0],
            convergence=convergence(sampled.fractions[:, :, moved]),
            stalled=(name,) if stalled else (),
        ),
        rows,
    )


def _fit_ensemble(fits: list[_Fit], causes: tuple[str, ...], sampler: _Sampler) -> CalibratedFractions:
    counts = np.array([fit.fractions.counts for fit in fits])
    moved = np.array([fit.fractions.calibrated for fit in fits])
    shares = counts.sum(axis=0) / counts.sum()
    sampled = sampler.draw(counts, np.array([fit.rows for fit in fits]), moved, shares)
    return CalibratedFractions(
        label=ENSEMBLE,
        causes=causes,
        counts=counts.sum(axis=0),
        uncalibrated=shares,
        draws=sampled.fractions,
        calibrated=np.asarray(moved.any(axis=0)),
        path_lambda=None,
        prior_matrix=None,
        posterior_matrix=None,
        convergence=convergence(sampled.fractions[:, :, moved.any(axis=0)]),
        stalled=tuple(name for fit in fits for name in fit.fractions.stalled),
    )


# -- the matrix ----------------------------------------------------------------------------------------------------


def _calibrated(matrix: np.ndarray, causes: tuple[str, ...], settings: CalibrationSettings) -> np.ndarray:
    """(C,) bool: the causes that the model moves; none where that would be a single one."""
    moved = np.array([cause not in settings.not_calibrated for cause in causes])
    if settings.learn_not_calibrated:
        means = _row_shares(matrix)
        moved &= np.ptp(means, axis=0) > LEAST_COLUMN_RANGE
    return moved if moved.sum() > 1 else np.zeros(len(causes), dtype=bool)


def _path_lambda(means: np.ndarray, observed: np.ndarray, model: Model) -> tuple[float, bool]:
    """The least lambda, walked down in steps, for which all larger ones explain the observed shares; and whether none does.

    Observed shares are explained where solving (lambda I + (1 - lambda) M)' p = observed gives a p within [0, 1].
    """
    largest = LARGEST_LAMBDA[model]
    reached = largest
    for step in range(round(largest / LAMBDA_STEP) + 1):
        value = largest - LAMBDA_STEP * step
        p = np.linalg.pinv(_towards_identity(means, value).T) @ observed
        if (p < 0).any() or (p > 1).any():
            break
        reached = value
    reached = max(round(reached, 10), 0.0)
    return reached, reached >= LARGEST_LAMBDA["Mmatprior"]


def _towards_identity(means: np.ndarray, path_lambda: float) -> np.ndarray:
    return path_lambda * np.eye(len(means)) + (1 - path_lambda) * means


def mixed_dirichlet(alpha: np.ndarray, path_lambda: float) -> np.ndarray:
    """Dirichlet parameters of rows that were drawn towards the identity.

    The mean of row i is lambda e_i + (1 - lambda) E[X_i], X_i ~ Dirichlet(alpha_i); the concentration is the likeliest one
    for the mixed rows, whose expected logarithms come from quadrature over the quantiles of each entry's Beta.

    Args:
        alpha: (C, C) float64, a Dirichlet in each row.
        path_lambda: 0 to below 1.

    >>> mixed_dirichlet(np.array([[8.0, 2.0], [3.0, 7.0]]), 0.0).round(2).tolist()
    [[8.0, 2.0], [3.0, 7.0]]
    """
    from scipy.special import betaincinv

    size = len(alpha)
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_POINTS)
    total = alpha.sum(axis=1, keepdims=True)
    quantiles = betaincinv(alpha[..., None], (total - alpha)[..., None], 0.5 * (nodes + 1))
    mixed = path_lambda * np.eye(size)[..., None] + (1 - path_lambda) * quantiles
    expected_logs = np.log(mixed + NUDGE) @ (0.5 * weights) - np.log1p(size * NUDGE)
    means = _towards_identity(alpha / total, path_lambda)
    return np.array([_concentration(m, logs) * m for m, logs in zip(means, expected_logs, strict=True)])


def _concentration(mean: np.ndarray, expected_logs: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    def loss(log_size: float) -> float:
        parameters = np.exp(log_size) * mean
        found = (
            gammaln(np.exp(log_size)) - gammaln(parameters).sum() + ((parameters - 1) * expected_logs).sum()
        )
        return -float(found)

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 20), method="bounded", options={"xatol": 1e-8}).x))


def _row_shares(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


# -- sampling --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sampled:
    """(chains, draws, C) fractions, and (K, C, C) mean matrices."""

    fractions: np.ndarray
    matrices: np.ndarray


@dataclass(frozen=True)
class _Sampler:
    """Draws of one fit; `stream` sets its randomness apart from that of the other fits."""

    settings: CalibrationSettings
    stream: int
    progress: Callable[[float], None]

    def draw(self, counts: np.ndarray, rows: np.ndarray, moved: np.ndarray, shares: np.ndarray) -> _Sampled:
        """For K algorithms: counts (K, C), rows (K, C, C), moved (K, C) and pooled shares (C,)."""
        chains = self.settings.chains
        kept = np.flatnonzero(moved.any(axis=0))
        everything = np.broadcast_to(shares, (chains.chains, chains.draws, len(shares))).copy()
        matrices = np.array([_row_shares(r) for r in rows])
        if len(kept) < 2:
            return _Sampled(everything, matrices)
        posterior = Posterior(
            counts[:, kept],
            rows[:, kept][:, :, kept],
            moved[:, kept],
            fixed=self.settings.model == "Mmatfixed",
            prior=_prior(shares[kept], self.settings),
        )
        rng = np.random.default_rng([self.settings.seed, self.stream])
        total = np.zeros((len(rows), len(kept), len(kept)))
        # The calibrated causes share what the others leave.
        room = 1 - shares[~moved.any(axis=0)].sum()
        draws = hamiltonian_draws(posterior, posterior.start, chains, rng, self.progress)
        for at, x in enumerate(draws):
            everything[:, at, kept] = room * posterior.fractions(x)
            total += posterior.matrices(x).mean(axis=0)
        matrices[:, kept[:, None], kept] = total / chains.draws
        return _Sampled(everything, matrices)


def _prior(shares: np.ndarray, settings: CalibrationSettings) -> np.ndarray:
    shrinkage = 0.0 if settings.path_correction else SHRINKAGE_WITHOUT_PATH
    return np.asarray(1 + len(shares) * shrinkage * shares)


class Posterior:
    """The log density of fractions and matrices given counts of K algorithms over C causes.

    Parameters are the logarithms of Gamma variables whose shares are p, and in `Mmatprior` those of each free row of each
    matrix: a Dirichlet without constraints. Rows and columns of causes that an algorithm does not move are the identity's.

    Args:
        counts: (K, C) deaths.
        rows: (K, C, C) Dirichlet parameters, or the matrices where `fixed`.
        moved: (K, C) bool.
        fixed: whether the matrices are given.
        prior: (C,) Dirichlet parameters of p.
    """

    def __init__(
        self, counts: np.ndarray, rows: np.ndarray, moved: np.ndarray, *, fixed: bool, prior: np.ndarray
    ) -> None:
        self.counts = counts.astype(np.float64)
        self.causes = len(prior)
        self.fixed = fixed
        free = moved[:, :, None] & moved[:, None, :]
        self.free = np.flatnonzero(free)
        self.all_free = bool(free.all())
        self.given = np.where(free, rows if fixed else 0.0, np.eye(rows.shape[1]))
        # The Dirichlet parameters that belong to each parameter of x.
        self.alpha = prior.astype(np.float64) if fixed else np.concatenate([prior, rows[free]])
        self.start = np.log(self.alpha)

    def fractions(self, x: np.ndarray) -> np.ndarray:
        """(n, C) p of (n, parameters)."""
        weight = np.exp(x[:, : self.causes])
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def matrices(self, x: np.ndarray) -> np.ndarray:
        """(n, K, C, C) matrices of (n, parameters)."""
        return self._matrices(np.exp(x))

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) log density and (n, parameters) gradient."""
        weight = np.exp(x)
        p = weight[:, : self.causes]
        p = p / p.sum(axis=1, keepdims=True)
        matrices = self._matrices(weight)
        joint = p[:, None, :, None] * matrices
        # said[n, k, j]: chance that algorithm k says cause j.
        said = np.maximum(joint.sum(axis=2), 1e-300)
        ratio = self.counts / said
        per_row = (matrices * ratio[:, :, None, :]).sum(axis=3)
        log_density = x @ self.alpha - weight.sum(axis=1) + (self.counts * np.log(said)).sum(axis=(1, 2))
        gradient = self.alpha - weight
        to_p = per_row.sum(axis=1)
        gradient[:, : self.causes] += p * (to_p - (p * to_p).sum(axis=1, keepdims=True))
        if not self.fixed:
            pull = joint * (ratio[:, :, None, :] - per_row[..., None])
            flat = pull.reshape(len(x), -1)
            gradient[:, self.causes :] += flat if self.all_free else flat.take(self.free, axis=1)
        return log_density, gradient

    def _matrices(self, weight: np.ndarray) -> np.ndarray:
        if self.fixed:
            return self.given[None]
        shape = (len(weight), *self.given.shape)
        if self.all_free:
            rows = weight[:, self.causes :].reshape(shape)
            return np.asarray(rows / rows.sum(axis=3, keepdims=True))
        flat = np.zeros((len(weight), self.given.size))
        flat[:, self.free] = weight[:, self.causes :]
        rows = flat.reshape(shape)
        total = rows.sum(axis=3, keepdims=True)
        return np.asarray(rows / np.where(total == 0, 1.0, total) + self.given)
