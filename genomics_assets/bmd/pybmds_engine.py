"""The second engine: EPA's pybmds, for variances that change with the mean, for lognormal responses, and as a referee.

pybmds asks for an older pandas than this project, and holds the interpreter's lock while it fits; so it runs in processes
of another Python environment, whose interpreter `GENOMICS_BMDS_PYTHON` names:

    python3.11 -m venv /opt/bmds && /opt/bmds/bin/pip install pybmds==25.2

It fits a probe about a thousand times slower than `fitting`, and refuses probes with a dose group without spread.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genomics_assets.bmd import pybmds_worker
from genomics_assets.bmd.design import LOG_BASES, Design, LogTransformation
from genomics_assets.bmd.fitting import FitFlag, FitSettings, ModelFits, Progress, probe_flags_of
from genomics_assets.bmd.models import MODELS, MOST_PARAMETERS
from genomics_assets.input_error import InputError

PYTHON_VARIABLE = "GENOMICS_BMDS_PYTHON"

_DISTRIBUTIONS = {"constant": 1, "non_constant": 2, "lognormal": 3}
_ABSOLUTE, _SD, _RELATIVE = 1, 2, 3
_BLANK = -9999
_PROBES_AT_ONCE = 16


class PybmdsError(RuntimeError):
    """The other environment is not there, or does not work; the message says what to do."""


def pybmds_python() -> Path | None:
    """The interpreter that `GENOMICS_BMDS_PYTHON` names, or None where it is not set."""
    named = os.environ.get(PYTHON_VARIABLE)
    return Path(named) if named else None


def fit_with_pybmds(
    sample_doses: ArrayLike,
    responses: NDArray[np.floating],
    log_transformation: LogTransformation,
    settings: FitSettings,
    variance: Literal["constant", "non_constant", "lognormal"] = "constant",
    python: Path | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> ModelFits:
    """Fit every model to every probe with pybmds; as `fitting.fit_models`.

    `sigma` is the standard deviation at the control, of the logarithms where responses are lognormal. The p-values of the
    fits are pybmds's own. Exp2 and Exp4 are not among its models.

    Raises:
        PybmdsError: a process ends in error.
        InputError: as `fit_models`; no interpreter is named; a model that pybmds does not have.
    """
    chosen = python or pybmds_python()
    if chosen is None:
        raise InputError(
            "the engine pybmds needs an environment of its own",
            remedy=f"make one with pybmds in it and set {PYTHON_VARIABLE} to its interpreter, or use `engine: native`",
        )
    if missing := [name for name in settings.models if name not in pybmds_worker.CLASSES]:
        raise InputError(f"pybmds has no model {missing[0]}", remedy="use exp3 or exp5, or the native engine")
    design = Design.of(sample_doses)
    values: NDArray[np.float64] = np.array(responses, np.float64)
    finite = np.asarray(np.isfinite(values).all(axis=1))
    means, within = design.group_means(np.where(finite[:, None], values, 0))
    flags = probe_flags_of(design, values, within, finite)
    direction = design.shift(means) if settings.compat == "bmds" else design.trend(means)
    rows = np.flatnonzero(flags == 0)
    request = {
        "doses": [float(dose) for dose in np.asarray(sample_doses)],
        "models": list(settings.models),
        "free": [] if settings.monotonic_poly2 else ["poly2"],
        "settings": _options(settings, log_transformation, variance),
    }
    answers = _answers(chosen, request, values[rows], direction[rows] > 0, processes, progress)
    return _fits(design, settings, log_transformation, means, within, flags, direction, rows, answers)


def _options(settings: FitSettings, log_transformation: LogTransformation, variance: str) -> dict[str, Any]:
    bmr, kind = settings.bmr.factor, _SD
    if settings.bmr.type == "relative":
        kind = _RELATIVE
        if log_transformation != "NONE":
            kind, bmr = _ABSOLUTE, float(np.log1p(bmr) / np.log(LOG_BASES[log_transformation]))
    return {
        "bmr_type": kind,
        "bmr": bmr,
        "disttype": _DISTRIBUTIONS[variance],
        "alpha": 1 - settings.confidence,
    }


def _answers(
    python: Path,
    request: dict[str, Any],
    responses: NDArray[np.float64],
    rising: NDArray[np.bool_],
    processes: int | None,
    progress: Progress | None,
) -> list[list[dict[str, Any] | None]]:
    parts = [slice(start, start + _PROBES_AT_ONCE) for start in range(0, len(responses), _PROBES_AT_ONCE)]
    answers: list[list[list[dict[str, Any] | None]]] = [[] for _ in parts]
    done, lock = [0], Lock()

    def work(place: int) -> None:
        part = parts[place]
        own = request | {"responses": responses[part].tolist(), "is_increasing": rising[part].tolist()}
        answers[place] = _ask(python, own)
        with lock:
            done[0] += 1

    count = processes or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, place) for place in range(len(parts))]
        try:
            for future in futures:
                future.result()
                if progress is not None:
                    progress(done[0] / len(parts))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [row for part in answers for row in part]


def _ask(python: Path, request: dict[str, Any]) -> list[list[dict[str, Any] | None]]:
    with tempfile.TemporaryFile() as complaints:
        try:
            done = subprocess.run(  # noqa: S603 - the interpreter is the operator's own setting
                [str(python), str(Path(pybmds_worker.__file__))],
                input=json.dumps(request).encode(),
                stdout=subprocess.PIPE,
                stderr=complaints,
                check=False,
                env={"PATH": os.environ.get("PATH", ""), "MPLBACKEND": "agg"},
            )
        except OSError as error:
            raise PybmdsError(
                f"{python} cannot be run ({error.strerror}). Remedy: set {PYTHON_VARIABLE} to an interpreter."
            ) from None
        complaints.seek(0)
        last = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != len(request["responses"]):
        raise PybmdsError(
            f"pybmds under {python} ended with code {done.returncode}: {last[:300]}. "
            f"Remedy: {python} -m pip install pybmds==25.2"
        )
    return [json.loads(line) for line in lines]


def _fits(
    design: Design,
    settings: FitSettings,
    log_transformation: LogTransformation,
    means: NDArray[np.float64],
    within: NDArray[np.float64],
    probe_flags: NDArray[np.uint8],
    direction: NDArray[np.int8],
    rows: NDArray[np.intp],
    answers: Sequence[Sequence[dict[str, Any] | None]],
) -> ModelFits:
    shape = (len(means), len(settings.models))
    numbers = {
        name: np.full(shape, np.nan) for name in ("bmd", "bmdl", "bmdu", "log_likelihood", "sigma", "p_value")
    }
    parameters = np.full((*shape, MOST_PARAMETERS), np.nan)
    flags = np.full(shape, FitFlag.NOT_FITTED, np.uint8)
    bounded = np.zeros(shape, np.int8)
    for probe, row in zip(rows.tolist(), answers, strict=True):
        for model, (name, answer) in enumerate(zip(settings.models, row, strict=True)):
            flags[probe, model] = FitFlag.NOT_CONVERGED | FitFlag.NO_BMD | FitFlag.NO_BMDL | FitFlag.NO_BMDU
            if answer is None or answer["log_likelihood"] == _BLANK:
                continue
            for key in ("bmd", "bmdl", "bmdu", "log_likelihood", "p_value"):
                numbers[key][probe, model] = _number(answer[key])
            counted = round(answer["aic"] / 2 + answer["log_likelihood"])
            bounded[probe, model] = MODELS[name].free - counted
            curve, sigma = _curve(name, answer["parameters"], int(direction[probe]))
            parameters[probe, model, : len(curve)] = curve
            numbers["sigma"][probe, model] = sigma
            bmd, bmdl, bmdu = (float(numbers[key][probe, model]) for key in ("bmd", "bmdl", "bmdu"))
            flags[probe, model] = _flags(bmd, bmdl, bmdu, design)
    stated = numbers.pop("p_value")
    return ModelFits(
        settings=settings,
        log_transformation=log_transformation,
        doses=design.doses,
        group_sizes=design.group_sizes,
        group_means=means,
        within=within,
        probe_flags=probe_flags,
        direction=direction,
        flags=flags,
        bounded=bounded,
        parameters=parameters,
        stated_p_value=stated,
        **numbers,
    )


def _number(value: float) -> float:
    return float("nan") if value == _BLANK or not np.isfinite(value) else value


def _curve(name: str, said: dict[str, float], direction: int) -> tuple[list[float], float]:
    """Parameters in the order of `models`, and the standard deviation at the control."""
    values = list(said.values())
    count = len([parameter for parameter in MODELS[name].parameters if parameter != "sign"])
    curve = values[:count]
    if name == "exp3":
        curve = [said["a"], said["b"], said["d"], float(direction)]
    variance = said["alpha"] if "alpha" in said else float(np.exp(said["log-alpha"]))
    if "rho" in said:
        variance *= abs(curve[0]) ** said["rho"]
    return curve, float(np.sqrt(variance))


def _flags(bmd: float, bmdl: float, bmdu: float, design: Design) -> int:
    flags = FitFlag(0)
    for value, flag in ((bmd, FitFlag.NO_BMD), (bmdl, FitFlag.NO_BMDL), (bmdu, FitFlag.NO_BMDU)):
        if np.isnan(value):
            flags |= flag
    if bmd > design.doses[-1]:
        flags |= FitFlag.ABOVE_HIGHEST_DOSE
    if bmd < design.doses[design.doses > 0][0]:
        flags |= FitFlag.BELOW_LOWEST_DOSE
    return int(flags)
