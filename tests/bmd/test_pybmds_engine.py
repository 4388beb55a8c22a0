"""EPA's pybmds as referee: our likelihood is never below its own. Runs where `GENOMICS_TEST_BMDS_PYTHON` names it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from genomics_assets.bmd.fitting import FitFlag, FitSettings, fit_models
from genomics_assets.bmd.models import model_mean
from genomics_assets.bmd.planted import planted_experiment
from genomics_assets.bmd.pybmds_engine import PybmdsError, fit_with_pybmds
from genomics_assets.input_error import InputError

PYTHON = os.environ.get("GENOMICS_TEST_BMDS_PYTHON")
needs_pybmds = pytest.mark.skipif(
    PYTHON is None, reason="GENOMICS_TEST_BMDS_PYTHON names no interpreter with pybmds"
)
SETTINGS = FitSettings(models=("hill", "power", "linear", "poly2", "exp3", "exp5"), monotonic_poly2=True)


@needs_pybmds
def test_our_likelihood_is_never_below_that_of_pybmds() -> None:
    experiment = planted_experiment(8, replicates=4, seed=5)
    ours = fit_models(experiment.sample_doses, experiment.responses, "BASE2", SETTINGS)
    theirs = fit_with_pybmds(
        experiment.sample_doses, experiment.responses, "BASE2", SETTINGS, python=Path(str(PYTHON))
    )
    for column, name in enumerate(ours.models):
        ends = model_mean(name, theirs.parameters[:, column], [0.0, 300.0])
        same = np.sign(ends[:, 1] - ends[:, 0]) == ours.direction
        gain = ours.log_likelihood[same, column] - theirs.log_likelihood[same, column]
        assert np.nanmin(gain) > -0.01, name
        equal = same & (np.abs(ours.log_likelihood[:, column] - theirs.log_likelihood[:, column]) < 0.01)
        if equal.any():
            np.testing.assert_allclose(
                ours.bmd[equal, column], theirs.bmd[equal, column], rtol=0.05, err_msg=name
            )


@needs_pybmds
def test_probes_that_pybmds_refuses_are_flagged() -> None:
    experiment = planted_experiment(2, replicates=3, seed=5)
    responses = experiment.responses.copy()
    responses[1, experiment.sample_doses == 0] = 3.322
    fits = fit_with_pybmds(
        experiment.sample_doses,
        responses,
        "BASE2",
        FitSettings(models=("linear",)),
        "non_constant",
        Path(str(PYTHON)),
    )
    assert np.isfinite(fits.bmd[0, 0])
    assert fits.flags[1, 0] & FitFlag.NOT_FITTED


def test_an_environment_that_does_not_work_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = planted_experiment(1)
    arguments = (experiment.sample_doses, experiment.responses, "BASE2", FitSettings(models=("linear",)))
    monkeypatch.delenv("GENOMICS_BMDS_PYTHON", raising=False)
    with pytest.raises(InputError, match="GENOMICS_BMDS_PYTHON"):
        fit_with_pybmds(*arguments)  # type: ignore[arg-type]
    with pytest.raises(PybmdsError, match="cannot be run"):
        fit_with_pybmds(*arguments, python=Path("/no/such/python"))  # type: ignore[arg-type]
    with pytest.raises(PybmdsError, match="pip install pybmds"):
        fit_with_pybmds(*arguments, python=Path(sys.executable))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no model exp2"):
        fit_with_pybmds(*arguments[:3], FitSettings(models=("exp2",)), python=Path(sys.executable))  # type: ignore[arg-type]
