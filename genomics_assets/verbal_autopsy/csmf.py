"""Cause-specific mortality fractions: shares of deaths by cause, and what is told from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def fractions(counts: np.ndarray) -> np.ndarray:
    """Counts of deaths by cause as shares of one.

    >>> fractions(np.array([1, 3])).tolist()
    [0.25, 0.75]
    """
    shares = np.asarray(counts, dtype=np.float64)
    return np.asarray(shares / shares.sum())


def cause_counts(causes: Sequence[str]) -> dict[str, int]:
    """Deaths by cause, most first.

    >>> cause_counts(["Malaria", "Stroke", "Malaria"])
    {'Malaria': 2, 'Stroke': 1}
    """
    return dict(Counter(causes).most_common())


def whole_deaths(shares: np.ndarray, deaths: int) -> np.ndarray:
    """Shares of a number of deaths as whole deaths that sum to it, by largest remainder; (C,) int64.

    >>> whole_deaths(np.array([0.5, 0.25, 0.25]), 3).tolist()
    [1, 1, 1]
    """
    exact = np.asarray(shares, dtype=np.float64) * deaths
    whole = np.floor(exact + 1e-9).astype(np.int64)
    # The remainders are compared to nine places: equal ones go to the cause that comes first.
    remainder = np.round(exact - whole, 9)
    short = deaths - int(whole.sum())
    whole[np.argsort(-remainder, kind="stable")[:short]] += 1
    return whole
