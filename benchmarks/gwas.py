"""Association and import of genotypes against PLINK 2 and cyvcf2, on one machine, in turns.

    python -m benchmarks.gwas [--quick] [--rounds N] [--plink2 PATH]

Two made-up cohorts: 1,000 samples by 100,000 variants and 2,000 by 500,000, with 4 covariates and 1 % of calls missing.
The contestants take turns; medians are compared. CPU seconds are the figure that a busy machine disturbs least.
PLINK 2 wants OpenBLAS (Debian: libopenblas0-pthread), else it is three times slower than it can be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.cohort_generator import SyntheticCohort
from benchmarks.inputs import cache_folder
from benchmarks.variants import Target, print_table
from benchmarks.vcf_generator import write_bgzf
from genomics_assets.gwas.plink_files import import_plink

Figures = dict[str, float]


@dataclass
class Contest:
    """Runs of some contestants at one job, by name."""

    name: str
    runs: dict[str, list[Figures]] = field(default_factory=dict)

    def median(self, contestant: str, figure: str) -> float:
        """Of one figure over the rounds."""
        return median(run[figure] for run in self.runs[contestant])


@dataclass(frozen=True)
class Cohort:
    """A generated cohort's files."""

    name: str
    folder: Path

    @property
    def stem(self) -> Path:
        """Of .bed, .bim and .fam."""
        return self.folder / "cohort"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one table of figures and one of targets."""
    asked = _parser().parse_args(arguments)
    plink2 = asked.plink2 or shutil.which("plink2")
    print(_machine(plink2), flush=True)
    scale = 20 if asked.quick else 1
    rounds = asked.rounds or (1 if asked.quick else 3)
    small = prepared("small", SyntheticCohort(1000, 100_000 // scale, seed=21, missing=0.01, effect=0.25))
    large = prepared("large", SyntheticCohort(2000, 500_000 // scale, seed=22, missing=0.01, effect=0.25))
    targets: list[Target] = []
    contests = []
    for cohort in (small, large):
        for kind in ("linear", "logistic"):
            contests.append(
                compare(cohort, kind, plink2, 1 if (cohort, kind) == (large, "logistic") else rounds)
            )
            print_contest(contests[-1])
            targets += association_targets(cohort, kind, contests[-1])
    contests.append(compare_imports(small, rounds))
    print_contest(contests[-1])
    imports = contests[-1]
    targets.append(
        Target(
            "VCF import, CPU, ours / cyvcf2",
            imports.median("ours", "cpu") / imports.median("cyvcf2", "cpu"),
            0.25,
            "x",
        )
    )
    if plink2:
        targets += agreement_targets(small)
    print_table(["", "measured", "target", ""], [target.row() for target in targets])
    return 0


def prepared(name: str, generator: SyntheticCohort) -> Cohort:
    """A cohort in the cache: fileset, phenotypes, canonical form, and tables for PLINK 2."""
    folder = cache_folder() / f"cohort-{generator.samples}x{generator.variants}-{generator.seed}"
    cohort = Cohort(name, folder)
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"making {folder}", flush=True)
        generator.write_plink(cohort.stem)
        import_plink(*(cohort.stem.with_suffix(ending) for ending in (".bed", ".bim", ".fam")), folder)
        _write_plink_tables(folder)
        if name == "small":
            write_bgzf(folder / "cohort.vcf.gz", generator.vcf_text(cohort.stem), level=6)
        (folder / "done").touch()
    return cohort


def _write_plink_tables(folder: Path) -> None:
    lines = (folder / "phenotypes.csv").read_text().splitlines()
    with (folder / "pheno.txt").open("w") as pheno, (folder / "covar.txt").open("w") as covar:
        pheno.write("#FID\tIID\tQT\tCC\n")
        covar.write("#FID\tIID\tage\tsx\tpc1\tpc2\n")
        for line in lines[1:]:
            sample, quantitative, case, *covariates = line.split(",")
            pheno.write(f"{sample}\t{sample}\t{quantitative}\t{case}\n")
            covar.write("\t".join([sample, sample, *covariates]) + "\n")


def compare(cohort: Cohort, kind: str, plink2: str | None, rounds: int) -> Contest:
    """Let ours and PLINK 2 test one trait, in turns."""
    contest = Contest(f"{cohort.name} {kind}")
    contestants: dict[str, Callable[[], Figures]] = {
        "ours": lambda: run_ours(kind, cohort.folder, cohort.folder / f"ours.{kind}.parquet")
    }
    if plink2:
        contestants["plink2"] = lambda: run_plink2(plink2, cohort, kind)
    return _in_turns(contest, contestants, rounds)


def compare_imports(cohort: Cohort, rounds: int) -> Contest:
    """Let ours and cyvcf2 bring the same VCF into two-bit form, in turns."""
    vcf, ours, theirs = (
        cohort.folder / "cohort.vcf.gz",
        cohort.folder / "imported",
        cohort.folder / "cyvcf2.bed",
    )
    contest = _in_turns(
        Contest("small VCF import"),
        {"ours": lambda: run_ours("import", vcf, ours), "cyvcf2": lambda: run_ours("cyvcf2", vcf, theirs)},
        rounds,
    )
    same = (ours / "genotypes.bed").read_bytes()[3:] == theirs.read_bytes()
    print(f"the two imports hold {'the same bytes' if same else 'DIFFERENT BYTES'}")
    return contest


def _in_turns(contest: Contest, contestants: dict[str, Callable[[], Figures]], rounds: int) -> Contest:
    for _ in range(rounds):
        for name, run in contestants.items():
            contest.runs.setdefault(name, []).append(run())
    return contest


def run_ours(what: str, given: Path, out: Path) -> Figures:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gwas_run", what, str(given), str(out)]
    # Compiled code is kept: the first run of all makes it.
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_plink2(program: str, cohort: Cohort, kind: str) -> Figures:
    """One run of PLINK 2, its start included."""
    trait = "QT" if kind == "linear" else "CC"
    command = [
        program, "--bfile", str(cohort.stem), "--pheno", str(cohort.folder / "pheno.txt"), "--pheno-name", trait,
        "--covar", str(cohort.folder / "covar.txt"), "--covar-variance-standardize", "--glm", "hide-covar",
        *(["firth-fallback"] if kind == "logistic" else []), "cols=+a1freq,+beta", "--threads", "2",
        "--out", str(cohort.folder / "plink2"),
    ]  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"plink2 ended with {process.returncode}; see {cohort.folder / 'plink2.log'}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime}


def association_targets(cohort: Cohort, kind: str, contest: Contest) -> Iterator[Target]:
    """What is promised of association."""
    if cohort.name == "large":
        yield Target(f"{contest.name}: peak memory", contest.median("ours", "peak_mb"), 600, "MB")
    if "plink2" not in contest.runs:
        return
    ours, theirs = (contest.median(name, "wall") for name in ("ours", "plink2"))
    yield Target(f"{contest.name}: wall, ours / plink2", ours / theirs, 0.7, "x")
    cpu = contest.median("ours", "kernel_cpu") / contest.median("plink2", "cpu")
    yield Target(
        f"{contest.name}: CPU of the kernel, ours / plink2", cpu, 0.55 if kind == "linear" else 0.7, "x"
    )


def agreement_targets(cohort: Cohort) -> Iterator[Target]:
    """How far our p values are from PLINK 2's, which are printed to six digits."""
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    theirs = arrow_csv.read_csv(
        cohort.folder / "plink2.QT.glm.linear",
        parse_options=arrow_csv.ParseOptions(delimiter="\t"),
        convert_options=arrow_csv.ConvertOptions(null_values=["NA"]),
    )
    ours = pq.read_table(cohort.folder / "ours.linear.parquet")
    with np.errstate(divide="ignore"):
        difference = np.abs(ours["neg_log10_p"].to_numpy() + np.log10(theirs["P"].to_numpy()))
    yield Target("small linear: largest difference of log10 p", float(np.nanmax(difference)) * 1e6, 3, "e-6")


def print_contest(contest: Contest) -> None:
    """Medians of a contest."""
    print(f"\n## {contest.name}")
    figures = ("wall", "cpu", "kernel_wall", "kernel_cpu", "peak_mb")
    rows = [
        [
            name,
            *(f"{contest.median(name, figure):.2f}" if figure in runs[0] else "" for figure in figures),
            str(len(runs)),
        ]
        for name, runs in contest.runs.items()
    ]
    print_table(["", "wall s", "CPU s", "kernel wall s", "kernel CPU s", "peak MB", "runs"], rows)


def _machine(plink2: str | None) -> str:
    version = "no plink2 on PATH"
    if plink2:
        version = subprocess.run(
            [plink2, "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {version}, load {os.getloadavg()[0]:.1f} before the start"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gwas", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a twentieth of the variants, one round")
    parser.add_argument("--rounds", type=int, help="how often each run is timed (default: 3)")
    parser.add_argument("--plink2", help="the plink2 to compare with (default: the one on PATH)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
