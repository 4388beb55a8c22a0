"""InSilicoVA: causes of N deaths and the fractions of C causes together, by Gibbs sampling.

Model: fractions are softmax(theta), theta ~ Normal(mu, sigma²); a death's cause follows the fractions, its answers
follow P(indicator | cause), one value for each of the probbase's grades; the grades' values keep their order and have
Beta priors about the published ones. Causes that age, sex, pregnancy or length of gestation rule out have probability
zero. Deaths by injury are split off first and assigned among external causes by Bayes' rule, as the published software
does. Source: McCormick, Li, Calvert, Crampin, Kahn and Clark (2016), JASA 111:1036-1049.

With one value a grade, a death's log-likelihood is a sum over grades of counts of yes and no, so those are counted once
and an iteration is one matrix-vector product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from genomics_assets.verbal_autopsy.consistency import NO, UNKNOWN, YES, consistent_answers
from genomics_assets.verbal_autopsy.probbase import GRADES, PROBABILITIES, Probbase

LOWEST, HIGHEST = 0.0001, 0.9999
JUMP = 0.1
# Weight of the grades' priors for each death and, pooled, for each cell of the median grade.
STRENGTH = 1.5
PRIOR_CENTRE = 0.99
LOWEST_PRIOR = 0.000001

_EXTERNAL_CAUSES = "b_12"
_EXTERNAL_SYMPTOMS = range(77, 101)
_DEMOGRAPHIC = (range(19, 23), range(114, 115))
_NOT_PREGNANT, _MATERNAL = "i310o", "b_09"
_BORN_AT_TERM, _PREMATURITY, _BIRTH_ASPHYXIA = "i367a", "b_1001", "b_1002"

Progress = Callable[[float], None]


@dataclass(frozen=True)
class InSilicoSettings:
    """How long to sample: `iterations` in all, of which `warm_up` are thrown away and then each `thin`-th is kept."""

    iterations: int = 4000
    warm_up: int = 2000
    thin: int = 10
    seed: int = 1


@dataclass(frozen=True)
class InSilicoResult:
    """What the sampler found for N deaths.

    Attributes:
        causes: names of the C causes, external ones included.
        csmf_draws: (draws, C) float64, rows sum to one.
        probabilities: (N, C) float64, the mean probability of each cause for each death.
        grade_draws: (draws, 15) float64, values of the grades.
        acceptance: share of accepted moves of theta; 0.1 to 0.6 is sound.
    """

    causes: tuple[str, ...]
    csmf_draws: np.ndarray
    probabilities: np.ndarray
    grade_draws: np.ndarray = field(repr=False)
    acceptance: float

    @property
    def top_causes(self) -> list[str]:
        """The most probable cause of each death."""
        return [
            self.causes[at] if row[at] > 0 else "Undetermined"
            for at, row in zip(self.probabilities.argmax(axis=1), self.probabilities, strict=True)
        ]

    def csmf(self) -> dict[str, float]:
        """Posterior means of the cause-specific mortality fractions."""
        return dict(zip(self.causes, self.csmf_draws.mean(axis=0).tolist(), strict=True))


def assign_causes(
    probbase: Probbase,
    answers: np.ndarray,
    settings: InSilicoSettings | None = None,
    *,
    progress: Progress = lambda share: None,
) -> InSilicoResult:
    """The causes of N deaths and their fractions; the same seed gives the same result.

    Args:
        probbase: the symptom-cause matrix.
        answers: (N, S) int8 of 1 yes, 0 no, -1 unknown, columns as in `probbase.indicators`; records that
            `consistency.unusable_records` finds should not be among them.
        settings: how long to sample, and the seed.
        progress: told the share that is done, now and then.
    """
    settings = settings or InSilicoSettings()
    clean = consistent_answers(probbase, answers, strict=True)
    codes = probbase.cause_codes
    external = np.array([code.startswith(_EXTERNAL_CAUSES) for code in codes])
    injured = (clean[:, probbase.rows(_EXTERNAL_SYMPTOMS)] == YES).any(axis=1) & external.any()
    probabilities = np.zeros((len(answers), len(codes)))
    probabilities[np.ix_(injured, external)] = _external_shares(probbase, clean[injured], external)

    kept = settings.iterations - settings.warm_up
    csmf = np.zeros((max(kept // settings.thin, 1), len(codes)))
    csmf[:] = probabilities.sum(axis=0) / max(len(answers), 1)
    natural = ~injured
    if not natural.any():
        return InSilicoResult(probbase.cause_names, csmf, probabilities, np.empty((0, len(GRADES))), 0.0)
    model = _Model(probbase, clean[natural], ~external)
    chain = _sample(model, settings, progress)
    csmf[:, ~external] += chain.csmf * (natural.sum() / len(answers))
    probabilities[np.ix_(natural, ~external)] = chain.probabilities
    return InSilicoResult(probbase.cause_names, csmf, probabilities, chain.grades, chain.acceptance)


def _external_shares(probbase: Probbase, answers: np.ndarray, external: np.ndarray) -> np.ndarray:
    rows = probbase.rows(_EXTERNAL_SYMPTOMS)
    chances = PROBABILITIES[probbase.grades[rows][:, probbase.causes][:, external]]
    priors = PROBABILITIES[probbase.priors[probbase.causes][external]]
    yes = (answers[:, rows] == YES)[:, :, None]
    weight = priors * np.where(yes, chances, 1.0).prod(axis=1)
    total = weight.sum(axis=1, keepdims=True)
    even = np.full(weight.shape, 1 / max(weight.shape[1], 1))
    return np.where(total > 0, weight / np.where(total > 0, total, 1.0), even)


class _Model:
    """Counts that stay the same over all iterations, for N deaths and C causes."""

    def __init__(self, probbase: Probbase, answers: np.ndarray, causes: np.ndarray) -> None:
        codes = [code for code, taken in zip(probbase.cause_codes, causes, strict=True) if taken]
        # Where no is the substantive answer, the grades are about no.
        held = np.where(answers == UNKNOWN, UNKNOWN, (answers == probbase.substantive).astype(np.int8))
        external = set(probbase.rows(_EXTERNAL_SYMPTOMS))
        used = [s for s in range(len(probbase.indicators)) if s not in external and (held[:, s] >= 0).any()]
        grades = probbase.grades[:, probbase.causes][:, causes]
        self.possible = _possible(probbase, answers, grades, codes, used)
        self.yes = _count(held[:, used] == YES, grades[used])
        self.no = _count(held[:, used] == NO, grades[used])
        self.priors = PROBABILITIES[probbase.priors[probbase.causes][causes]]
        cells = np.bincount(grades[used].ravel(), minlength=len(GRADES))
        # The prior of a grade is Beta(centre * weight, weight - centre * weight).
        self.weight = np.floor(
            np.floor(STRENGTH * len(answers)) * np.median(cells[cells > 0] if cells.any() else 1)
        )
        published = PROBABILITIES.copy()
        published[-1] = LOWEST_PRIOR
        self.prior_yes = PRIOR_CENTRE * self.weight * published

    def log_likelihood(self, values: np.ndarray) -> np.ndarray:
        """(N, C) float64 of log P(answers | cause) for grades of these values."""
        found = self.yes @ np.log(values).astype(np.float32) + self.no @ np.log1p(-values).astype(np.float32)
        return np.asarray(found, dtype=np.float64)

    def draw_values(self, causes: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """New values of the grades, each between its neighbours, given the causes of the deaths."""
        from scipy.special import betainc, betaincinv

        deaths = np.arange(len(causes))
        yes = self.yes[deaths, causes].sum(axis=0, dtype=np.float64)
        no = self.no[deaths, causes].sum(axis=0, dtype=np.float64)
        a, b = self.prior_yes + yes, self.weight - self.prior_yes + no
        uniform = rng.random(len(GRADES))
        new = np.empty(len(GRADES))
        # From the highest grade to the lowest: below the new value of the one before, above the old of the next.
        for grade in range(len(GRADES)):
            low = LOWEST if grade + 1 == len(GRADES) else max(last[grade + 1], LOWEST)
            high = HIGHEST if grade == 0 else min(new[grade - 1], HIGHEST)
            if low >= high:
                new[grade] = high
                continue
            below, above = betainc(a[grade], b[grade], (low, high))
            middle = (low + high) / 2
            value = betaincinv(a[grade], b[grade], below + uniform[grade] * (above - below))
            new[grade] = middle if above - below < 1e-8 else min(max(float(value), low), high)
        return new


def _count(held: np.ndarray, grades: np.ndarray) -> np.ndarray:
    """(N, C, 15) float32: how many of a death's indicators have each grade with each cause."""
    counts = np.empty((len(held), grades.shape[1], len(GRADES)), dtype=np.float32)
    held32 = held.astype(np.float32)
    for grade in range(len(GRADES)):
        counts[:, :, grade] = held32 @ (grades == grade).astype(np.float32)
    return counts


def _possible(
    probbase: Probbase, answers: np.ndarray, grades: np.ndarray, codes: list[str], used: list[int]
) -> np.ndarray:
    """(N, C) bool: what age, sex, pregnancy and gestation leave possible."""
    possible = np.ones((len(answers), len(codes)), dtype=bool)
    demographic = {row for numbers in _DEMOGRAPHIC for row in probbase.rows(numbers)}
    for row in demographic & set(used):
        substantive = answers[:, row] == probbase.substantive[row]
        other = (answers[:, row] != UNKNOWN) & ~substantive
        chance = PROBABILITIES[grades[row]]
        possible &= ~(substantive[:, None] & (chance == 0)) & ~(other[:, None] & (chance == 1))
    for indicator, answer, prefix in (
        (_NOT_PREGNANT, YES, _MATERNAL),
        (_BORN_AT_TERM, YES, _PREMATURITY),
        (_BORN_AT_TERM, NO, _BIRTH_ASPHYXIA),
    ):
        if indicator in probbase.row_of:
            told = answers[:, probbase.row_of[indicator]] == answer
            possible &= ~(told[:, None] & np.array([code.startswith(prefix) for code in codes]))
    # A death that everything is ruled out for keeps all causes, or it would have none at all.
    possible[~possible.any(axis=1)] = True
    return possible


@dataclass(frozen=True)
class _Chain:
    csmf: np.ndarray
    probabilities: np.ndarray
    grades: np.ndarray
    acceptance: float


def _sample(model: _Model, settings: InSilicoSettings, progress: Progress) -> _Chain:
    rng = np.random.default_rng(settings.seed)
    open_causes = np.asarray(model.possible.any(axis=0))
    impossible = np.where(model.possible, 0.0, -np.inf)
    theta = _Theta(open_causes, rng)
    values = PROBABILITIES * (HIGHEST - LOWEST) + LOWEST
    draws = max((settings.iterations - settings.warm_up) // settings.thin, 1)
    csmf, grades = np.empty((draws, len(open_causes))), np.empty((draws, len(GRADES)))
    total, saved = np.zeros(model.possible.shape), 0
    shares = _posterior(model, values, theta.fractions, impossible)
    for iteration in range(settings.iterations):
        causes = _draw_causes(shares, rng)
        theta.move(np.bincount(causes, minlength=len(open_causes)), rng)
        values = model.draw_values(causes, values, rng)
        shares = _posterior(model, values, theta.fractions, impossible)
        past = iteration - settings.warm_up + 1
        if past > 0 and past % settings.thin == 0 and saved < draws:
            csmf[saved], grades[saved] = theta.fractions, values
            total += shares
            saved += 1
        if iteration % 100 == 0:
            progress(iteration / settings.iterations)
    return _Chain(csmf[:saved], total / max(saved, 1), grades[:saved], theta.accepted / settings.iterations)


def _posterior(
    model: _Model, values: np.ndarray, fractions: np.ndarray, impossible: np.ndarray
) -> np.ndarray:
    with np.errstate(divide="ignore"):
        score = model.log_likelihood(values) + np.log(fractions) + impossible
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _draw_causes(shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    reached = np.cumsum(shares, axis=1)
    point = rng.random((len(shares), 1)) * reached[:, -1:]
    return np.asarray((reached <= point).sum(axis=1).clip(max=shares.shape[1] - 1))


class _Theta:
    """Log fractions up to a constant: the first possible cause's is 1, impossible ones have none."""

    def __init__(self, open_causes: np.ndarray, rng: np.random.Generator) -> None:
        self.open = open_causes
        self.fixed = int(np.flatnonzero(open_causes)[0])
        self.theta = np.where(open_causes, np.log(rng.random(len(open_causes)) * 100.0 + 1e-12), 0.0)
        self.theta[self.fixed] = 1.0
        self.variance = 1.0
        self.accepted = 0

    @property
    def fractions(self) -> np.ndarray:
        return self._softmax(self.theta)

    def move(self, deaths: np.ndarray, rng: np.random.Generator) -> None:
        """Draw mean and variance, then propose new log fractions given the deaths by cause."""
        count = int(self.open.sum())
        mean = rng.normal(self.theta[self.open].mean(), np.sqrt(self.variance / count))
        squares = ((self.theta[self.open] - mean) ** 2).sum()
        self.variance = 1 / rng.gamma(max(count - 1, 1) / 2, 2 / max(squares, 1e-12))
        proposed = np.where(self.open, rng.normal(self.theta, JUMP), 0.0)
        proposed[self.fixed] = 1.0
        gain = self._log_density(proposed, deaths, mean) - self._log_density(self.theta, deaths, mean)
        if np.log(rng.random()) < gain:
            self.theta = proposed
            self.accepted += 1

    def _log_density(self, theta: np.ndarray, deaths: np.ndarray, mean: float) -> float:
        told = deaths[self.open] @ np.log(self._softmax(theta)[self.open])
        return float(told - ((theta[self.open] - mean) ** 2).sum() / (2 * self.variance))

    def _softmax(self, theta: np.ndarray) -> np.ndarray:
        weight = np.where(self.open, np.exp(theta - theta[self.open].max()), 0.0)
        return np.asarray(weight / weight.sum())
