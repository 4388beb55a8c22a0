"""Verbal autopsy in seconds of CPU: our engines on this machine, beside published figures of the R packages.

    python -m benchmarks.verbal_autopsy [--rounds 3] [--reference FOLDER]

InterVA on 10,000 deaths, InSilicoVA on 1,000 deaths with 4,000 iterations, and the calibration of three algorithms with
their ensemble. Without a reference folder the made-up reference of the examples is used: fewer indicators and causes than
the published matrix, so pass the published files for figures that compare. R is not run here; its figures are those that
were measured once on a machine like this one, with the versions that they name.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genomics_assets.verbal_autopsy import insilicova, interva
from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES
from genomics_assets.verbal_autopsy.calibration import CalibrationSettings, calibrate
from genomics_assets.verbal_autopsy.consistency import unusable_records
from genomics_assets.verbal_autopsy.misclassification import AS_DIRICHLET, MEAN, find_matrices
from genomics_assets.verbal_autopsy.probbase import Probbase, find_probbase, read_probbase
from genomics_assets.verbal_autopsy.synthetic_reference import write_reference

INTERVA_DEATHS, INSILICO_DEATHS = 10_000, 1_000
COUNTS = {
    "eava": [44, 168, 267, 268, 29, 164],
    "insilicova": [10, 148, 354, 327, 62, 289],
    "interva": [42, 82, 267, 288, 16, 495],
}
# Wall seconds of R on two cores: InterVA5 1.1.4 (200 deaths in 83 s), InSilicoVA 1.4.2 (200 deaths, 4,000 iterations),
# vacalibration 2.2 (three algorithms and the ensemble, newborns).
R_SECONDS = {
    "InterVA": "4,150 (by 200 deaths)",
    "InSilicoVA": "1,140 (by 200 deaths)",
    "Mmatprior": "108",
    "Mmatfixed": "50",
}
TARGETS = {"InterVA": 2.0, "InSilicoVA": 30.0, "Mmatprior": 20.0, "Mmatfixed": 20.0}


def main() -> None:
    """Run each engine in turn, the rounds interleaved, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--reference", type=Path, default=None, help="folder of the published reference files"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reference = arguments.reference or Path(folder)
        if arguments.reference is None:
            write_reference(reference)
        works = _works(reference)
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for _ in range(arguments.rounds):
            for name, work in works.items():
                seconds[name].append(_timed(work))
    _print(seconds)


def _works(reference: Path) -> dict[str, Callable[[], object]]:
    probbase, matrices = read_probbase(find_probbase(reference)), find_matrices(reference)
    many, some = _deaths(probbase, INTERVA_DEATHS), _deaths(probbase, INSILICO_DEATHS)
    counts = {name: np.array(values) for name, values in COUNTS.items()}
    country = matrices.countries[0]

    def calibration(model: str) -> Callable[[], object]:
        kind = AS_DIRICHLET if model == "Mmatprior" else MEAN
        chosen = {name: matrices.matrix("neonate", name, country, kind) for name in counts}
        settings = CalibrationSettings(model=model)  # type: ignore[arg-type]
        return lambda: calibrate(counts, chosen, BROAD_CAUSES["neonate"], settings, ensemble=True)

    return {
        "InterVA": lambda: interva.assign_causes(probbase, many),
        "InSilicoVA": lambda: insilicova.assign_causes(probbase, some),
        "Mmatprior": calibration("Mmatprior"),
        "Mmatfixed": calibration("Mmatfixed"),
    }


def _deaths(probbase: Probbase, count: int) -> np.ndarray:
    """Answers as they come in surveys: a tenth yes, a tenth unknown; each death has an age and a sex."""
    draw = np.random.default_rng(count)
    # Some have no symptom at all, which no algorithm takes: a tenth more are drawn, and the first so many taken.
    drawn = count + count // 10
    answers = draw.choice([1, 0, -1], p=[0.1, 0.8, 0.1], size=(drawn, len(probbase.indicators))).astype(
        np.int8
    )
    for group in (probbase.rows(range(19, 20)), probbase.rows(range(22, 23), "abcdefg")):
        answers[:, group] = 0
        answers[np.arange(drawn), draw.choice(group, size=drawn)] = 1
    unusable = np.any(list(unusable_records(probbase, answers).values()), axis=0)
    usable = answers[~unusable][:count]
    assert len(usable) == count
    return usable


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _print(seconds: dict[str, list[tuple[float, float]]]) -> None:
    titles = {
        "InterVA": f"InterVA, {INTERVA_DEATHS:,} deaths",
        "InSilicoVA": f"InSilicoVA, {INSILICO_DEATHS:,} deaths x 4,000",
        "Mmatprior": "calibration, 3 + ensemble, prior",
        "Mmatfixed": "calibration, 3 + ensemble, fixed",
    }
    print(f"{'':36} {'CPU s':>8} {'wall s':>8} {'target':>8}   R, wall s")
    for name, runs in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"{titles[name]:36} {cpu:8.2f} {wall:8.2f} {'<' + format(TARGETS[name], 'g'):>8}   {R_SECONDS[name]}"
        )


if __name__ == "__main__":
    main()
