"""The design of a dose-response experiment: which sample got which dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomics_assets.input_error import InputError

LogTransformation = Literal["NONE", "BASE2", "BASE10", "NATURAL"]

# What was already done to the responses; they are never transformed again.
LOG_BASES: dict[str, float] = {"BASE2": 2.0, "BASE10": 10.0, "NATURAL": float(np.e)}

FEWEST_DOSES = 3


@dataclass(frozen=True, eq=False)
class Design:
    """Dose groups of N samples; the lowest dose is the control.

    Attributes:
        doses: (J,) float64, distinct and ascending.
        group_of_sample: (N,) int64, index into `doses`.
        group_sizes: (J,) int64.
    """

    doses: NDArray[np.float64]
    group_of_sample: NDArray[np.int64]
    group_sizes: NDArray[np.int64]

    @classmethod
    def of(cls, sample_doses: ArrayLike) -> Design:
        """Group samples, in any order, by equal dose.

        Raises:
            InputError: fewer than three distinct doses, a dose that is negative or not finite.

        >>> Design.of([0, 10, 0, 1, 10, 1]).group_sizes.tolist()
        [2, 2, 2]
        """
        samples = np.asarray(sample_doses, np.float64)
        if not np.isfinite(samples).all():
            raise InputError("a dose is not a finite number", remedy="write every dose as a number")
        if (samples < 0).any():
            raise InputError(
                f"a dose is negative ({samples.min():g})",
                remedy="write doses on their own scale, not as logarithms",
            )
        doses, group, sizes = np.unique(samples, return_inverse=True, return_counts=True)
        if doses.size < FEWEST_DOSES:
            raise InputError(
                f"{doses.size} distinct dose{'' if doses.size == 1 else 's'}, a curve needs {FEWEST_DOSES}",
                remedy="add dose groups, or check the row of doses",
            )
        return cls(doses, group.astype(np.int64), sizes.astype(np.int64))

    def group_means(self, responses: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means (P, J) and sums of squares within groups (P, J) of responses (P, N), in float64."""
        means = np.empty((len(responses), self.doses.size))
        squares = np.empty_like(means)
        for group in range(self.doses.size):
            values = responses[:, self.group_of_sample == group].astype(np.float64)
            means[:, group] = values.mean(axis=1)
            squares[:, group] = ((values - means[:, group, None]) ** 2).sum(axis=1)
        return means, squares

    def trend(self, means: NDArray[np.float64]) -> NDArray[np.int8]:
        """+1 where the straight line through the unweighted group means rises with dose, -1 elsewhere: (P,)."""
        slope = means @ (self.doses - self.doses.mean())
        return np.where(slope > 0, 1, -1).astype(np.int8)

    def shift(self, means: NDArray[np.float64]) -> NDArray[np.int8]:
        """+1 where the treated groups lie above the control on the whole, -1 elsewhere: (P,)."""
        return np.where((means - means[:, :1]).sum(axis=1) > 0, 1, -1).astype(np.int8)
