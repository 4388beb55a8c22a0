"""One analysis or import by this project or by cyvcf2, in a process of its own; prints its figures as JSON.

    python -m benchmarks.gwas_run linear|logistic|import|cyvcf2 INPUT OUTPUT

The start of the interpreter and imports are outside of the time: a worker has them done. For `linear` and `logistic`,
INPUT is the folder of a cohort in canonical form with its phenotypes.csv, and reading, testing and writing Parquet are
inside; `kernel` is the testing alone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_IMPORTED = (
    "isal.isal_zlib", "numpy", "pandas", "pyarrow.compute", "pyarrow.parquet", "scipy.special",
    "genomics_assets.gwas.vcf_genotypes", "genomics_assets.gwas._linear_kernel",
    "genomics_assets.gwas._logistic_kernel", "genomics_assets.gwas._vcf_scanner", "genomics_assets.gwas.logistic",
    "genomics_assets.gwas.linear",
)  # fmt: skip


def main() -> None:
    """Run what the command line asks for."""
    what, given, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    runs = {"linear": _associate, "logistic": _associate, "import": _import, "cyvcf2": _cyvcf2}
    if what == "cyvcf2":
        importlib.import_module("cyvcf2")
    else:
        for name in _IMPORTED:
            importlib.import_module(name)
    figures: dict[str, float] = {}
    with _timed(figures, ""):
        runs[what](what, given, out, figures)
    figures["peak_mb"] = _peak_mb()
    print(json.dumps(figures))


def _associate(kind: str, folder: Path, out: Path, figures: dict[str, float]) -> None:
    import numpy as np
    import pyarrow.parquet as pq

    from genomics_assets.gwas.association import Analysis, associate, association_schema
    from genomics_assets.gwas.dataset import read_dataset
    from genomics_assets.gwas.phenotypes import covariates_of, join_samples, read_phenotypes, trait_of
    from genomics_assets.gwas.scan import gathered

    cohort = read_dataset(folder)
    table = read_phenotypes(folder / "phenotypes.csv")
    join = join_samples(cohort.samples["sample_id"].to_pylist(), table)
    trait = trait_of(table, "QT" if kind == "linear" else "CC", join, "")
    covariates = covariates_of(table, table.covariates, join, "")
    everybody, everything = np.ones(cohort.matrix.samples, bool), np.ones(cohort.matrix.variants, bool)
    analysis = Analysis([(trait, kind)], covariates, everybody, everything, threads=2)  # type: ignore[list-item]
    batches = gathered(associate(cohort, analysis))
    spent = {"kernel_wall": 0.0, "kernel_cpu": 0.0}
    with pq.ParquetWriter(out, association_schema(), compression="zstd") as writer:
        while True:
            cpu, wall = time.process_time(), time.perf_counter()
            batch = next(batches, None)
            spent["kernel_cpu"] += time.process_time() - cpu
            spent["kernel_wall"] += time.perf_counter() - wall
            if batch is None:
                break
            writer.write_batch(batch[trait.name])
    figures.update(spent)


def _import(_: str, path: Path, out: Path, figures: dict[str, float]) -> None:
    from genomics_assets.gwas.vcf_genotypes import import_vcf

    out.mkdir(exist_ok=True)
    import_vcf(path, out)


def _cyvcf2(_: str, path: Path, out: Path, figures: dict[str, float]) -> None:
    import cyvcf2
    import numpy as np

    from genomics_assets.gwas.genotype_matrix import pack

    # gt_types with gts012: 0, 1 and 2 copies, 3 unknown.
    codes = np.array([3, 2, 0, 1], dtype=np.uint8)
    sites = []
    with out.open("wb") as file:
        for record in cyvcf2.VCF(str(path), gts012=True):
            file.write(pack(codes[record.gt_types][None, :]).data)
            sites.append((record.CHROM, record.POS, record.ID, record.REF, record.ALT[0]))


@contextmanager
def _timed(figures: dict[str, float], name: str) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    figures[f"{name}cpu"] = time.process_time() - cpu
    figures[f"{name}wall"] = time.perf_counter() - wall


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
