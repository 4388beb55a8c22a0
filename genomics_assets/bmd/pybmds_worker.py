"""Fits probes with EPA's pybmds. Runs by its path under an interpreter that has pybmds, so it imports nothing of ours.

Reads one JSON object from standard input (doses, models, options and the probes' responses), and writes one JSON line for
each probe to standard output: a list with one result for each model, None where pybmds refuses. The native code writes a
line of noise for every fit; descriptor 1 is turned away from standard output before it loads.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

CLASSES = {
    "hill": "Hill", "power": "Power", "linear": "Linear", "poly2": "Polynomial", "poly3": "Polynomial",
    "poly4": "Polynomial", "exp3": "ExponentialM3", "exp5": "ExponentialM5",
}  # fmt: skip


def main() -> None:
    """Answer the request on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.load(sys.stdin)
    import pybmds

    for responses, rising in zip(request["responses"], request["is_increasing"], strict=True):
        try:
            dataset = pybmds.ContinuousIndividualDataset(doses=request["doses"], responses=responses)
        except ValueError:  # a dose group without spread
            answers.write(json.dumps([None] * len(request["models"])) + "\n")
            continue
        row = [fit(dataset, model, rising, request) for model in request["models"]]
        answers.write(json.dumps(row) + "\n")
        answers.flush()


def fit(dataset: Any, model: str, rising: bool, request: dict[str, Any]) -> dict[str, Any] | None:
    """One model on one probe."""
    from pybmds.constants import PriorClass
    from pybmds.exceptions import ConfigurationException
    from pybmds.models import continuous

    settings = dict(request["settings"], is_increasing=rising)
    if model.startswith("poly"):
        settings["degree"] = int(model[4:])
        if model in request["free"]:
            settings["priors"] = PriorClass.frequentist_unrestricted
    try:
        result = getattr(continuous, CLASSES[model])(dataset, settings).execute()
    except (ConfigurationException, ValueError):
        return None
    return {
        "bmd": float(result.bmd),
        "bmdl": float(result.bmdl),
        "bmdu": float(result.bmdu),
        "log_likelihood": float(result.fit.loglikelihood),
        "aic": float(result.fit.aic),
        "p_value": float(result.tests.p_values[3]),
        "parameters": {
            str(name): float(value)
            for name, value in zip(result.parameters.names, result.parameters.values, strict=True)
        },
    }


if __name__ == "__main__":
    main()
