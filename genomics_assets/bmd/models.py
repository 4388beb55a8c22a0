"""The dose-response models: their means, parameters and bounds.

As BMDS (US EPA, Benchmark Dose Software 3.3 user guide, chapter 7) and BMDExpress-3 define them. All are fitted with
normal, constant variance by `fitting`. Bounds hold on doses divided by the highest dose.

========  ================================================  =====================================
model     mean at dose x                                    bounds
========  ================================================  =====================================
hill      g + v·x^n / (k^n + x^n)                           0 < k <= 5, 1 <= n <= 18, v by direction
power     g + v·x^n                                         1 <= n <= 18
linear    b0 + b1·x
poly2     b0 + b1·x + b2·x²                                 free, or of one sign (`monotonic_poly2`)
poly3, 4  b0 + ... + b4·x⁴                                  b1 ... of the sign of the direction
exp2      a·exp(sign·b·x)                                   b > 0
exp3      a·exp(sign·(b·x)^d)                               1 <= d <= 18
exp4      a·(c - (c-1)·exp(-b·x))                           c by direction
exp5      a·(c - (c-1)·exp(-(b·x)^d))                       1 <= d <= 18 (0.05 <= d for bmdexpress3)
========  ================================================  =====================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

ModelName = Literal["hill", "power", "linear", "poly2", "poly3", "poly4", "exp2", "exp3", "exp4", "exp5"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
POLYNOMIALS: tuple[ModelName, ...] = ("linear", "poly2", "poly3", "poly4")


@dataclass(frozen=True)
class Model:
    """A dose-response model.

    Attributes:
        name: as settings and results write it.
        title: as pictures and reports write it.
        parameters: names of the curve's parameters, in the order of `ModelFits.parameters`; sigma is beside them.
        free: how many parameters the likelihood has, sigma counted, none on a bound.
        degree: of a polynomial, 0 for others.
        contains: models that are special cases of this one, in the same direction.
    """

    name: ModelName
    title: str
    parameters: tuple[str, ...]
    free: int
    degree: int = 0
    contains: tuple[ModelName, ...] = ()


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("hill", "Hill", ("g", "v", "k", "n"), 5),
        Model("power", "Power", ("g", "v", "n"), 4, contains=("linear",)),
        Model("linear", "Linear", ("b0", "b1"), 3, 1),
        Model("poly2", "Poly 2", ("b0", "b1", "b2"), 4, 2, ("linear",)),
        Model("poly3", "Poly 3", ("b0", "b1", "b2", "b3"), 5, 3, ("linear",)),
        Model("poly4", "Poly 4", ("b0", "b1", "b2", "b3", "b4"), 6, 4, ("linear", "poly3")),
        Model("exp2", "Exp 2", ("a", "b", "sign"), 3),
        Model("exp3", "Exp 3", ("a", "b", "d", "sign"), 4, contains=("exp2",)),
        Model("exp4", "Exp 4", ("a", "b", "c"), 4),
        Model("exp5", "Exp 5", ("a", "b", "c", "d"), 5, contains=("exp4",)),
    )
}
MOST_PARAMETERS = max(len(model.parameters) for model in MODELS.values())


def model_mean(
    name: str, parameters: Sequence[float] | NDArray[np.float64], doses: ArrayLike
) -> NDArray[np.float64]:
    """The mean response at doses.

    Args:
        name: one of `MODEL_NAMES`.
        parameters: (..., at least as many as the model has), trailing ones are ignored.
        doses: (D,).

    Returns:
        (..., D).

    >>> model_mean("hill", [1.0, 2.0, 10.0, 1.0], [0, 10, 30]).tolist()
    [1.0, 2.0, 2.5]
    """
    p = np.moveaxis(np.asarray(parameters, np.float64), -1, 0)[..., None]
    x = np.asarray(doses, np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if name == "hill":
            return np.asarray(p[0] + p[1] / (1 + (p[2] / x) ** p[3]))
        if name == "power":
            return np.asarray(p[0] + p[1] * x ** p[2])
        if name in ("exp2", "exp3"):
            d, sign = (p[2], p[3]) if name == "exp3" else (1.0, p[2])
            return np.asarray(p[0] * np.exp(sign * (p[1] * x) ** d))
        if name in ("exp4", "exp5"):
            d = p[3] if name == "exp5" else 1.0
            # Not as the formula is written: c may be huge where the curve is all but a power.
            return np.asarray(p[0] - p[0] * (p[2] - 1) * np.expm1(-((p[1] * x) ** d)))
        return np.asarray(sum(p[power] * x**power for power in range(MODELS[name].degree + 1)))
