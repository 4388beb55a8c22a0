"""Dose-response analysis against pybmds and scipy: probes per CPU second, side by side.

    python -m benchmarks.bmd [--quick]

The same synthetic matrix goes through ours and through the peer, in turn, and CPU seconds count: this process's for ours
and scipy, the children's for pybmds, which runs in the environment that `GENOMICS_BMDS_PYTHON` names and is left out without
it. One small run beforehand pays for compiling. Last, the whole job from a dropped matrix to best models in PostgreSQL.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.loading import run_process
from benchmarks.servers import BenchmarkServer, benchmark_home
from benchmarks.variants import Target, print_table
from genomics_assets.bmd.fitting import FitSettings, fit_models
from genomics_assets.bmd.planted import PlantedExperiment, planted_experiment
from genomics_assets.bmd.prefilters import PrefilterSettings, prefilter
from genomics_assets.bmd.pybmds_engine import fit_with_pybmds, pybmds_python

EIGHT = FitSettings(models=("hill", "power", "linear", "poly2", "poly3", "poly4", "exp3", "exp5"))


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    fitted: int
    refereed: int
    permuted: int
    tested: int
    chained: int
    rounds: int


FULL = Sizes(fitted=5_000, refereed=100, permuted=3_000, tested=50_000, chained=50_000, rounds=3)
QUICK = Sizes(fitted=500, refereed=4, permuted=300, tested=5_000, chained=1_000, rounds=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what was promised beside what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    sizes = QUICK if parser.parse_args(arguments).quick else FULL
    experiment = planted_experiment(max(sizes.fitted, sizes.tested, sizes.permuted), replicates=4)
    targets = [
        *fit_targets(experiment, sizes),
        *prefilter_targets(experiment, sizes),
        *chain_targets(experiment, sizes),
    ]
    print_table(["", "measured", "target", ""], [target.row() for target in targets])
    return 0


def fit_targets(experiment: PlantedExperiment, sizes: Sizes) -> list[Target]:
    """Eight models with both limits, ours with the global restart, and pybmds on some of the same probes."""
    doses, spread = (
        experiment.sample_doses,
        np.arange(sizes.fitted) * (len(experiment.responses) // sizes.fitted),
    )
    responses = experiment.responses[spread]
    fit_models(doses, responses[:2], "BASE2", EIGHT)
    some = responses[:: max(len(responses) // sizes.refereed, 1)][: sizes.refereed]
    ours, theirs = [], []
    python = pybmds_python()
    for _ in range(sizes.rounds):
        ours.append(sizes.fitted / cpu_seconds(lambda: fit_models(doses, responses, "BASE2", EIGHT)))
        if python is not None and not theirs:
            theirs.append(len(some) / cpu_seconds(lambda: fit_with_pybmds(doses, some, "BASE2", EIGHT)))
    targets = [Target("fits, 8 models, both limits", median(ours), 1500, "probes/CPU-s", at_least=True)]
    if theirs:
        targets.append(
            Target("as many times pybmds", median(ours) / median(theirs), 1000, "x", at_least=True)
        )
    else:
        print("pybmds is left out: GENOMICS_BMDS_PYTHON is not set")
    return targets


def prefilter_targets(experiment: PlantedExperiment, sizes: Sizes) -> list[Target]:
    """The trend test, and the analysis of variance beside scipy's."""
    from scipy.stats import f_oneway

    doses = experiment.sample_doses
    permuted, tested = experiment.responses[: sizes.permuted], experiment.responses[: sizes.tested]
    ids = experiment.probe_ids
    williams = PrefilterSettings(method="williams", fold_change=None)
    prefilter(doses, permuted[:2], ids[:2], "BASE2", williams)
    groups = [tested[:, doses == dose] for dose in np.unique(doses)]
    trend, ours, theirs = [], [], []
    for _ in range(sizes.rounds):
        trend.append(
            cpu_seconds(lambda: prefilter(doses, permuted, ids[: sizes.permuted], "BASE2", williams))
        )
        ours.append(cpu_seconds(lambda: prefilter(doses, tested, ids[: sizes.tested], "BASE2")))
        theirs.append(cpu_seconds(lambda: f_oneway(*groups, axis=1)))
    print(
        f"analysis of variance: scipy's test alone takes {median(theirs):.2f} CPU-s, our whole prefilter {median(ours):.2f}"
    )
    return [
        Target(f"Williams, 10,000 permutations, {sizes.permuted:,} probes", median(trend), 5, "CPU-s"),
        Target(f"ANOVA prefilter, {sizes.tested:,} probes", median(ours), 0.5, "CPU-s"),
    ]


def chain_targets(experiment: PlantedExperiment, sizes: Sizes) -> list[Target]:
    """The job from a dropped matrix to best models in the database, after a small one that warms the compile cache."""
    from resources.migrations import migrate

    runs = []
    with benchmark_home() as home:
        server = BenchmarkServer(home)
        migrate(server.make("bmd_template"))
        for probes, *how in ((100,), *([(sizes.chained,)] * sizes.rounds), (sizes.chained, "--whole")):
            matrix, folder = home / "matrix.txt", home / f"run_{len(runs)}"
            _write_matrix(matrix, experiment, probes)
            url = server.make("bmd", "bmd_template")
            ours = [sys.executable, "-W", "ignore", "-m", "benchmarks.our_bmd_chain"]
            runs.append(run_process([*ours, url, str(matrix), str(folder), *how]))
    _, *measured, whole = runs
    assert all(run["rows"] == sizes.chained for run in (*measured, whole))
    name = f"drop to best models, {sizes.chained:,} probes x 8 models"
    print(f"{name}: {median(run['client_cpu'] for run in measured):.1f} CPU-s of the run's process")
    print(f"the whole job, exports and charts included: {whole['wall']:.1f} s, {whole['peak_mb']:.0f} MB")
    return [
        Target(f"{name}, wall", median(run["wall"] for run in measured), 90, "s"),
        Target(f"{name}, peak memory", max(run["peak_mb"] for run in measured), 1000, "MB"),
    ]


def _write_matrix(path: Path, experiment: PlantedExperiment, probes: int) -> None:
    """The first probes as the text that is dropped."""
    doses = experiment.sample_doses
    with path.open("w") as out:
        out.write("\t".join(["SampleID", *(f"s{n}" for n in range(len(doses)))]) + "\n")
        out.write("\t".join(["Dose", *(f"{dose:g}" for dose in doses)]) + "\n")
        for name, values in zip(experiment.probe_ids[:probes], experiment.responses[:probes], strict=True):
            out.write("\t".join([name, *(f"{value:.5f}" for value in values)]) + "\n")


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process and of its children that ended."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    sys.exit(main())
