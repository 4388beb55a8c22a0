"""How far two algorithms agree on the causes of the same deaths: Cohen's kappa and the table behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Two algorithms on the deaths that both gave a cause.

    Attributes:
        first: name of the one algorithm, the table's rows.
        second: name of the other, the table's columns.
        deaths: how many they share.
        share: of those, the share with the same cause.
        kappa: Cohen's kappa; None where chance alone would make them agree on all.
        table: (C, C) int64, deaths by both causes.
    """

    first: str
    second: str
    deaths: int
    share: float
    kappa: float | None
    table: np.ndarray


def cohens_kappa(table: np.ndarray) -> float | None:
    """Agreement beyond chance of a (C, C) table of counts: Cohen (1960), Educational and Psychological Measurement 20:37.

    >>> cohens_kappa(np.array([[20, 5], [10, 15]]))
    0.4
    """
    total = table.sum()
    if total == 0:
        return None
    observed = np.trace(table) / total
    expected = float(table.sum(axis=0) @ table.sum(axis=1)) / float(total) ** 2
    return None if expected >= 1 else round(float((observed - expected) / (1 - expected)), 12)


def agreements(
    causes: Sequence[str], assigned: Mapping[str, tuple[Sequence[str], np.ndarray]]
) -> list[Agreement]:
    """Agreement of each pair of algorithms.

    Args:
        causes: the C causes.
        assigned: for each algorithm the ids of its deaths and (N,) their causes as positions in `causes`, -1 for none.
    """
    of_death = {
        name: {key: int(cause) for key, cause in zip(ids, found, strict=True) if cause >= 0}
        for name, (ids, found) in assigned.items()
    }
    return [
        _agreement(first, second, of_death[first], of_death[second], len(causes))
        for first, second in combinations(of_death, 2)
    ]


def _agreement(
    first: str, second: str, one: Mapping[str, int], other: Mapping[str, int], causes: int
) -> Agreement:
    table = np.zeros((causes, causes), dtype=np.int64)
    for key in one.keys() & other.keys():
        table[one[key], other[key]] += 1
    deaths = int(table.sum())
    return Agreement(
        first, second, deaths, float(np.trace(table)) / deaths if deaths else 0.0, cohens_kappa(table), table
    )
