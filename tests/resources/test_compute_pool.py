"""Blocks on a real Dask cluster, two worker processes, against the threads of this process: the same to the last bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genomics_assets.bmd.fitting import FitSettings, fit_models
from genomics_assets.bmd.planted import planted_experiment
from genomics_assets.gwas.drop_folder import sort_files
from genomics_assets.gwas.scan import Cohort, prepare_scan
from resources.compute_pool import ComputePool, ComputePoolError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ComputePool]:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield ComputePool(scheduler=cluster.scheduler_address)


def test_fits_are_the_same_on_a_cluster(cluster: ComputePool) -> None:
    experiment = planted_experiment(450, replicates=3, seed=3)
    asked = (experiment.sample_doses, experiment.responses, "BASE2", FitSettings(models=("hill", "linear")))
    here = fit_models(*asked)
    told: list[float] = []
    with cluster.blocks() as blocks:
        there = fit_models(*asked, progress=told.append, blocks=blocks)
    names = [f"p{number}" for number in range(len(here))]
    assert len(here) == 450
    assert np.isfinite(here.bmd).any()
    assert there.table(names).equals(here.table(names))
    assert told == [1 / 3, 2 / 3, 1]


def test_associations_are_the_same_on_a_cluster(cluster: ComputePool, tmp_path: Path) -> None:
    files = sort_files(sorted((EXAMPLES / "inbox" / "gwas" / "user123" / "heights").iterdir()))
    cohort = Cohort.of(
        files.bring_into_form(tmp_path), files.table(), files.settings(), files.phenotypes.name
    )
    scan, _ = prepare_scan(cohort, cohort.quality(), cohort.phenotypes)
    assert scan is not None
    here = scan.run(tmp_path / "here", lambda _: None)
    with cluster.blocks() as blocks:
        there = scan.run(tmp_path / "there", lambda _: None, blocks)
    assert len(here) > 1, "a quantitative trait and a binary one"
    for ours, theirs in zip(here, there, strict=True):
        assert ours.table.num_rows > 5_000
        assert theirs.table.equals(ours.table)


def test_the_work_is_done_on_the_cluster(cluster: ComputePool) -> None:
    def where(item: int) -> tuple[int, int]:
        return item, os.getpid()

    with cluster.blocks() as blocks:
        done = list(blocks(lambda item: item, where, range(8), 1))
    assert [item for item, _ in done] == list(range(8)), "in order"
    assert os.getpid() not in {process for _, process in done}


def test_an_error_on_the_cluster_is_the_error_here(cluster: ComputePool) -> None:
    with cluster.blocks() as blocks, pytest.raises(ZeroDivisionError):
        list(blocks(lambda item: item, lambda item: 1 // item, [1, 0, 2], 1))


def test_a_cluster_that_does_not_answer_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("resources.compute_pool._ANSWER_SECONDS", 1)
    with (
        pytest.raises(ComputePoolError, match=r"tcp://127\.0\.0\.1:9 does not answer.*Remedy"),
        ComputePool(scheduler="tcp://127.0.0.1:9").blocks(),
    ):
        pass
