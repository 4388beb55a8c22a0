"""Genes, gene sets and points of departure: counts worked by hand, Fisher's test against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from genomics_assets.bmd.best_model import select_best_models
from genomics_assets.bmd.categories import (
    CategorySettings,
    analyse_categories,
    fisher_exact,
    gene_categories,
    percentile_of_total,
)
from genomics_assets.bmd.fit_statistics import fit_statistics
from genomics_assets.bmd.fitting import FitSettings, fit_models
from genomics_assets.bmd.gene_bmds import GeneBmds, ProbeFilters, gene_bmds
from genomics_assets.bmd.gene_sets import GeneSet, GeneSets, read_gene_sets, set_coverage
from genomics_assets.bmd.pictures import (
    accumulation_picture,
    best_model_picture,
    category_bubble_picture,
    category_range_picture,
    dose_response_picture,
)
from genomics_assets.bmd.planted import planted_experiment
from genomics_assets.bmd.platform_annotation import PlatformAnnotation, mapping_coverage, read_probe_map
from genomics_assets.bmd.points_of_departure import first_mode, points_of_departure, points_table
from genomics_assets.input_error import InputError


def genes_with(bmd: dict[str, float], direction: dict[str, int] | None = None) -> GeneBmds:
    """Genes with BMDs as given (NaN: filtered away), BMDL half and BMDU twice as large."""
    names = tuple(sorted(bmd))
    values = np.array([bmd[name] for name in names])
    alive = np.isfinite(values)
    return GeneBmds(
        genes=names,
        symbols=names,
        filters=("best_model", "remove_bmd_above_highest_dose"),
        passed=np.where(alive, 2, 1),
        probes=tuple((name,) for name in names),
        bmd=values,
        bmdl=values / 2,
        bmdu=values * 2,
        fit_p_value=np.where(alive, 0.5, np.nan),
        fold_change=np.where(alive, 2.0, np.nan),
        direction=np.array([(direction or {}).get(name, 1) for name in names], np.int8),
        correlation=np.full(len(names), np.nan),
    )


def platform(*genes: str) -> PlatformAnnotation:
    return PlatformAnnotation("made up", {f"probe_{gene}": (gene,) for gene in genes})


def test_a_small_set_worked_by_hand() -> None:
    genes = genes_with({"A": 1.0, "B": 2.0, "C": 6.0, "D": np.nan, "X": 5.0}, {"C": -1})
    annotation = platform("A", "B", "C", "D", "E", "X", "Y", "Z")
    sets = GeneSets("s", (GeneSet("S1", "one", ("A", "B", "C", "D", "E", "NOT_ON_CHIP")), GeneSet("S2", "two", ("X", "Y", "Z")),
                          GeneSet("S3", "empty", ("E",))))  # fmt: skip
    results = analyse_categories(genes, sets, annotation)
    rows = {row["category_id"]: row for row in results.rows}
    assert set(rows) == {"S1", "S2"}
    one = rows["S1"]
    assert (one["genes_in_set"], one["genes_on_platform"], one["genes_with_bmd"]) == (6, 5, 3)
    assert (one["genes_after_best_model"], one["genes_after_remove_bmd_above_highest_dose"]) == (4, 3)
    assert (one["fishers_a"], one["fishers_b"], one["fishers_c"], one["fishers_d"]) == (3, 1, 2, 2)
    assert one["percentage"] == 60.0
    assert (one["bmd_mean"], one["bmd_median"], one["bmd_minimum"]) == (3.0, 2.0, 1.0)
    assert one["bmd_sd"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert (one["bmd_5th_percentile"], one["bmd_10th_percentile"]) == (1.0, 1.0)
    assert (one["genes_up"], one["genes_down"], one["direction"]) == (2, 1, "UP")
    assert one["bmd_up_mean"] == 1.5
    assert one["mean_fold_change"] == pytest.approx(2.0)
    assert one["genes"] == ["A", "B", "C"]
    express = analyse_categories(genes, sets, annotation, CategorySettings(compat="bmdexpress3"))
    assert {row["category_id"]: row["fishers_d"] for row in express.rows} == {
        "S1": 3,
        "S2": rows["S2"]["fishers_d"] + 1,
    }
    assert results.table().num_rows == 2


def test_sets_are_kept_by_their_size_on_the_platform_and_told_once() -> None:
    genes = genes_with({"A": 1.0, "B": 2.0})
    annotation = platform("A", "B", "C", "D")
    sets = GeneSets("s", (GeneSet("small", "", ("A",)), GeneSet("right", "", ("A", "B")), GeneSet("same", "", ("A", "B", "C")),
                          GeneSet("large", "", ("A", "B", "C", "D"))))  # fmt: skip
    kept = analyse_categories(genes, sets, annotation, CategorySettings(min_genes=2, max_genes=3))
    assert {row["category_id"] for row in kept.rows} == {"right", "same"}
    once = analyse_categories(
        genes, sets, annotation, CategorySettings(min_genes=2, max_genes=3, deduplicate=True)
    )
    assert [row["category_id"] for row in once.rows] == ["right"]
    by_gene = analyse_categories(genes, gene_categories(annotation), annotation)
    assert {row["category_id"] for row in by_gene.rows} == {"A", "B"}


def test_fishers_test_is_that_of_scipy() -> None:
    draw = np.random.default_rng(2)
    for a, b, c, d in draw.integers(0, 40, (200, 4)).tolist():
        if min(a + b, c + d, a + c, b + d) == 0:
            continue
        left, right, two = fisher_exact(a, b, c, d)
        assert two == pytest.approx(stats.fisher_exact([[a, b], [c, d]])[1], rel=1e-6)
        assert left == pytest.approx(stats.fisher_exact([[a, b], [c, d]], "less")[1], rel=1e-6)
        assert right == pytest.approx(stats.fisher_exact([[a, b], [c, d]], "greater")[1], rel=1e-6)


def test_percentiles_are_of_all_genes_of_the_set() -> None:
    values = np.array([4.0, 1.0, 2.0])
    assert percentile_of_total(values, 20, 0.10) == 2.0
    assert percentile_of_total(values, 25, 0.10) == 3.0
    assert percentile_of_total(values, 100, 0.10) is None


def test_probes_fall_out_at_the_first_filter_and_genes_with_their_last_probe() -> None:
    experiment = planted_experiment(24, responsive=1, replicates=4, seed=11)
    fits = fit_models(
        experiment.sample_doses, experiment.responses, "BASE2", FitSettings(models=("hill", "linear"))
    )
    best, told = select_best_models(fits), fit_statistics(fits)
    mapping = {probe: (f"G{i // 2}",) for i, probe in enumerate(experiment.probe_ids)}
    mapping[experiment.probe_ids[0]] = ("G0", "G5")
    annotation = PlatformAnnotation("made up", mapping, {"G1": "SYMBOL"})
    r2 = best.of_winner(told.r_squared)
    cutoff = float(np.median(r2))
    filters = ProbeFilters(r_squared_cutoff=cutoff, remove_promiscuous_probes=True)
    genes = gene_bmds(experiment.probe_ids, fits, best, told, None, annotation, filters)
    expected: dict[str, list[float]] = {}
    for i, probe in enumerate(experiment.probe_ids):
        if i > 0 and best.model[i] >= 0 and best.bmd[i] <= 300 and r2[i] >= cutoff:
            expected.setdefault(mapping[probe][0], []).append(best.bmd[i])
    found = {gene: bmd for gene, bmd, ok in zip(genes.genes, genes.bmd, genes.survives, strict=True) if ok}
    assert found == pytest.approx({gene: np.mean(values) for gene, values in expected.items()})
    assert list(genes.left_after()) == ["best_model", "remove_bmd_above_highest_dose", "r_squared_cutoff"]
    assert genes.table()["bmd"].to_pylist() == sorted(found.values())
    pictures = [
        dose_response_picture(
            experiment.probe_ids, experiment.sample_doses, experiment.responses, fits, best
        ),
        best_model_picture(fits, best),
        accumulation_picture(genes, points_of_departure(genes, draws=20)),
    ]
    assert all(picture.startswith(b"\x89PNG") and 1_000 < len(picture) < 150_000 for picture in pictures)
    assert pictures[1] == best_model_picture(fits, best), "the same results give the same bytes"


def test_points_of_departure_by_hand() -> None:
    genes = genes_with({f"G{i:02d}": float(i + 1) for i in range(40)})
    sets = GeneSets("s", (GeneSet("low", "low", ("G00", "G01", "G02")), GeneSet("two", "two", ("G00", "G01")),
                          GeneSet("high", "high", tuple(f"G{i}" for i in range(30, 36)))))  # fmt: skip
    categories = analyse_categories(genes, sets, platform(*genes.genes))
    points = {point.method: point for point in points_of_departure(genes, categories, draws=200)}
    assert points["20th_gene"].value == 20.0
    assert points["20th_gene"].bmdl == 10.0
    assert points["25th_gene"].value == 25.0
    assert points["5th_percentile"].value == pytest.approx(np.quantile(np.arange(1, 41), 0.05))
    assert (points["lowest_category_median"].value, points["lowest_category_median"].basis) == (2.0, "low")
    for point in points.values():
        assert point.lower is not None
        assert point.lower <= point.value <= point.upper  # type: ignore[operator]
    assert list(points.values()) == list(points_of_departure(genes, categories, draws=200))
    assert points_table(tuple(points.values())).num_rows == 6
    few = points_of_departure(genes_with({"A": 1.0}), None, draws=10)
    assert [point.value for point in few] == [None] * 5
    assert "only 1" in few[0].basis
    for picture in (category_bubble_picture(categories), category_range_picture(categories)):
        assert picture.startswith(b"\x89PNG")


def test_the_first_mode_is_the_lower_of_two_peaks() -> None:
    draw = np.random.default_rng(4)
    low, high = 2 * np.exp(0.15 * draw.standard_normal(80)), 50 * np.exp(0.15 * draw.standard_normal(200))
    assert first_mode(np.concatenate([low, high])) == pytest.approx(2, rel=0.15)
    assert first_mode(high) == pytest.approx(50, rel=0.15)
    assert first_mode(high[:5]) is None


def test_maps_and_sets_are_read_and_covered(tmp_path: Path) -> None:
    (tmp_path / "chip.txt").write_text("Probe\tGene\nP1\t7157\nP2\t7157;1956\n\nP3\t5\n")
    (tmp_path / "sets.gmt").write_text("SET_A\thttp://x\t7157\t1956\t7157\nSET_B\t\t99\n")
    (tmp_path / "map.txt").write_text("id\tname\tgene\nM1\tOne\t5\nM1\tOne\t7157\n")
    chip = read_probe_map(tmp_path / "chip.txt")
    assert chip.genes_by_probe["P2"] == ("7157", "1956")
    assert mapping_coverage(chip, ["P1", "P2", "nobody"]).__dict__ == {
        "probes": 3,
        "mapped": 2,
        "promiscuous": 1,
    }
    gmt, defined = read_gene_sets(tmp_path / "sets.gmt"), read_gene_sets(tmp_path / "map.txt")
    assert gmt.sets[0].genes == ("7157", "1956")
    assert (defined.sets[0].title, defined.sets[0].genes) == ("One", ("5", "7157"))
    assert set_coverage(gmt, chip).mapped_sets == 1


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("chip.txt", b"Probe\tGene\nP1\n", "chip.txt, line 2"),
        ("chip.txt", b"Probe\tGene\n", "no probe in it"),
        ("sets.gmt", b"SET_A\tx\t1\nSET_A\tx\t2\n", "sets.gmt, line 2: the set 'SET_A' comes twice"),
        ("sets.gmt", b"SET_A\tx\n", "without genes"),
        ("sets.gmt", b"\xff\xfe", "not UTF-8"),
        ("map.txt", b"id\tname\tgene\nM1\tOne\n", "map.txt, line 2"),
    ],
)
def test_a_map_or_set_that_cannot_be_taken_names_the_place(
    tmp_path: Path, name: str, text: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError, match=problem):
        (read_probe_map if name == "chip.txt" else read_gene_sets)(tmp_path / name)
