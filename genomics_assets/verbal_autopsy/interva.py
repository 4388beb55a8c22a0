"""InterVA-5: the probability of each cause of death by Bayes' rule, vectorised over deaths.

A cause's probability is its prior times the product of P(indicator | cause) over the indicators that have their
substantive answer, made to sum to one among pregnancy states, causes and circumstances apart. The first cause needs a
probability of 0.4; a second and a third need half of the first's. Source: Byass et al. (2012), Global Health Action
5:19281; Byass et al. (2019), BMC Medicine 17:102.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from genomics_assets.verbal_autopsy.consistency import consistent_answers
from genomics_assets.verbal_autopsy.probbase import PROBABILITIES, Probbase

Prevalence = Literal["high", "low", "very low"]

LEAST_FIRST = 0.4
LEAST_SHARE_OF_FIRST = 0.5
# Exact ties at half of the first cause's probability are common; rounding must not decide on them.
TIE = 1e-9
MOST_CAUSES = 3

_HIV, _MALARIA, _SICKLE_CELL = "b_0103", "b_0105", "b_0403"
_HIV_PRIOR = {"high": 0.05, "low": 0.005, "very low": 0.00001}
_MALARIA_PRIORS = {"high": (0.05, 0.05), "low": (0.005, 0.00001), "very low": (0.00001, 0.00001)}


@dataclass(frozen=True)
class InterVaResult:
    """Probabilities and the causes that they name, for N deaths.

    Attributes:
        causes: names of the C causes.
        probabilities: (N, C) float64; rows sum to one, or are all zero where no cause is possible.
        pregnancy: (N, 3) float64, likewise.
        circumstances: (N, 6) float64, likewise.
        ranked: (N, 3) int, the first to third cause as columns of `probabilities`; -1 where there is none.
    """

    causes: tuple[str, ...]
    probabilities: np.ndarray
    pregnancy: np.ndarray
    circumstances: np.ndarray
    ranked: np.ndarray

    @property
    def top_causes(self) -> list[str]:
        """The first cause of each death; `Undetermined` where there is none."""
        return [self.causes[first] if first >= 0 else "Undetermined" for first in self.ranked[:, 0]]

    def csmf(self) -> dict[str, float]:
        """Cause-specific mortality fractions as InterVA counts them, `Undetermined` last.

        The probabilities of a death's named causes count; what is left of one goes to `Undetermined`.
        """
        if not len(self.ranked):
            return {}
        named = np.zeros_like(self.probabilities)
        deaths, places = np.nonzero(self.ranked >= 0)
        chosen = self.ranked[deaths, places]
        named[deaths, chosen] = self.probabilities[deaths, chosen]
        fractions = named.mean(axis=0)
        return {
            **dict(zip(self.causes, fractions.tolist(), strict=True)),
            "Undetermined": float(1 - fractions.sum()),
        }


def assign_causes(
    probbase: Probbase, answers: np.ndarray, *, hiv: Prevalence = "low", malaria: Prevalence = "low"
) -> InterVaResult:
    """The causes of N deaths.

    Args:
        probbase: the symptom-cause matrix.
        answers: (N, S) int8 of 1 yes, 0 no, -1 unknown, columns as in `probbase.indicators`; records that
            `consistency.unusable_records` finds should not be among them.
        hiv: how common deaths by HIV/AIDS are.
        malaria: how common deaths by malaria are.
    """
    substantive = (consistent_answers(probbase, answers) == probbase.substantive).astype(np.float64)
    chances = PROBABILITIES[probbase.grades]
    impossible = substantive @ (chances == 0) > 0
    with np.errstate(divide="ignore"):
        log_chance = np.where(chances == 0, 0.0, np.log(chances))
        score = np.log(_priors(probbase, hiv, malaria)) + substantive @ log_chance
    score[impossible] = -np.inf
    probabilities = _shares(score[:, probbase.causes])
    return InterVaResult(
        causes=probbase.cause_names,
        probabilities=probabilities,
        pregnancy=_shares(score[:, probbase.pregnancy]),
        circumstances=_shares(score[:, probbase.circumstances]),
        ranked=_ranked(probabilities),
    )


def _priors(probbase: Probbase, hiv: Prevalence, malaria: Prevalence) -> np.ndarray:
    priors = np.array(PROBABILITIES[probbase.priors])
    malaria_prior, sickle_cell_prior = _MALARIA_PRIORS[malaria]
    for code, prior in (
        (_HIV, _HIV_PRIOR[hiv]),
        (_MALARIA, malaria_prior),
        (_SICKLE_CELL, sickle_cell_prior),
    ):
        if code in probbase.columns:
            priors[probbase.columns.index(code)] = prior
    return priors


def _shares(score: np.ndarray) -> np.ndarray:
    """Logarithms of weights as shares of one in each row; zeros where every weight is zero."""
    most = score.max(axis=1, keepdims=True)
    weight = np.exp(score - np.where(np.isfinite(most), most, 0.0))
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(weight / np.where(total == 0, 1.0, total))


def _ranked(probabilities: np.ndarray) -> np.ndarray:
    # A stable sort: of equal probabilities the cause that the matrix names first goes first. Probabilities that
    # differ by rounding alone are equal.
    rounded = np.round(probabilities, 12)
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :MOST_CAUSES]
    chosen = np.take_along_axis(probabilities, order, axis=1)
    first = chosen[:, :1]
    enough = chosen >= LEAST_SHARE_OF_FIRST * first - TIE
    return np.asarray(np.where((first >= LEAST_FIRST - TIE) & enough & (chosen > 0), order, -1))
