"""Settings of an experiment: YAML with the line of what is wrong, BMDExpress-3's JSON unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genomics_assets.bmd.analysis_settings import (
    parse_bmdexpress_config,
    read_analysis_settings,
    read_bmdexpress_config,
)
from genomics_assets.bmd.fitting import BenchmarkResponse
from genomics_assets.input_error import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "bmd"
YAML = """\
log_transformation: BASE2
chip: generic
prefilter: {method: anova, p_value_cutoff: 0.05, use_multiple_testing_correction: false, fold_change: 1.5}
models: [hill, power, linear, poly2, exp3, exp5]
bmr: {type: sd, factor: 1.349}
compat: bmds
gene_sets: hallmark
"""
CONFIG = {
    "bm2FileName": "x.bm2",
    "expressionDataConfigs": [{"inputFileName": "a.txt", "hasHeaders": True, "logTransformation": "NONE", "platform": "GPL1"}],
    "preFilterConfigs": [{"@type": "williams", "useFoldChange": False, "foldChange": 0, "lotelTest": 2},
                         {"@type": "curvefit", "inputCategory": "williams", "bmrFactor": 1.581, "poly2BmrFactor": None}],
    "bmdsConfigs": [{"modelConfigs": [{"@type": "hill"}, {"@type": "poly", "degree": 1}, {"@type": "exp", "expModel": 5}],
                     "bmdsInputConfig": {"bmrType": 2, "bmrFactor": 0.25, "bmdUBmdLEstimationMethod": 2},
                     "bmdsBestModelSelection": {"bestPolyTest": 1, "kParameterValue": 3, "bestModelSelectionWithFlaggedHill": 2,
                                                "bmdlBMDUUse": 4},
                     "inputCategory": "curvefit_prefilter"}],
    "categoryAnalysisConfigs": [{"@type": "defined", "categoryFilePath": "/x/hallmark.txt", "probeFilePath": "/x/chip.txt",
                                 "bmdBMDLRatioMin": 20.0, "minGenesInSet": 3, "removeAdverseDirection": -1}],
}  # fmt: skip


def settings_of(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    (tmp_path / "e.yaml").write_text(text)
    return read_analysis_settings(tmp_path / "e.yaml")


def test_the_documented_keys_are_read(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, YAML)
    assert settings.prefilters[0].fold_change == 1.5
    assert settings.fit_settings.models == ("hill", "power", "linear", "poly2", "exp3", "exp5")
    assert settings.fit_settings.bmr == BenchmarkResponse("sd", 1.349)
    assert settings_of(tmp_path, "").chip == "generic"
    chain = settings_of(tmp_path, "prefilter: [{method: williams}, {method: curve_fit}]").prefilters
    assert [prefilter.method for prefilter in chain] == ["williams", "curve_fit"]
    assert settings_of(tmp_path, "prefilter: null").prefilters == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models: [hill, hil]", "e.yaml, line 1: models.1. is 'hil'"),
        ("modles: [hill]", "unknown key 'modles'. Remedy: write 'models'"),
        ("bmr: {type: sd, factor: -1}", "bmr.factor is -1"),
        ("bmr: {type: extra}", "bmr.type is 'extra'"),
        ("models: []", "none or repeated"),
        ("variance: lognormal", "engine: pybmds"),
        ("confidence: 2", "confidence is 2"),
    ],
)
def test_what_is_wrong_in_a_sidecar_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        settings_of(tmp_path, text)


def test_a_bmdexpress_configuration_says_the_same_here() -> None:
    config = parse_bmdexpress_config(json.dumps(CONFIG))
    (analysis,) = config.analyses
    assert [prefilter.method for prefilter in analysis.prefilters] == ["williams", "curve_fit"]
    assert (analysis.prefilters[0].fold_change, analysis.prefilters[0].lotel_test) == (None, "welch")
    assert analysis.prefilters[1].bmr == BenchmarkResponse("sd", 1.581)
    assert analysis.models == ("hill", "linear", "exp5")
    assert analysis.bmr == BenchmarkResponse("relative", 0.25)
    assert (analysis.log_transformation, analysis.chip, analysis.gene_sets) == ("NONE", "GPL1", "hallmark")
    chosen = analysis.best_model
    assert (chosen.best_poly, chosen.flagged_hill, chosen.bmdl_bmdu) == (
        "nested_chi_squared", "exclude_flagged", "compute_and_utilize_bmd_bmdl",
    )  # fmt: skip
    assert chosen.hill_k_ratio == pytest.approx(1 / 3)
    assert (analysis.probe_filters.bmd_bmdl_ratio, analysis.probe_filters.direction) == (20.0, "down")
    assert (analysis.categories.min_genes, analysis.compat) == (3, "bmdexpress3")
    assert "Wald" in config.notes[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bmdsConfgs": []}, "unknown key 'bmdsConfgs'"),
        ({"preFilterConfigs": []}, "leads to no prefilter"),
        ({"bmdsConfigs": [{"modelConfigs": [{"@type": "funl"}]}]}, "@type is 'funl'"),
        ({"bmdsConfigs": [{"bmdsInputConfig": {"bmrFactor": "much"}}]}, "bmrFactor is 'much'"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_named(change: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse_bmdexpress_config(json.dumps(CONFIG | change))
    with pytest.raises(InputError, match="line 1: not JSON"):
        parse_bmdexpress_config("{")


@pytest.mark.parametrize("name", ["ETAP", "DTT"])
def test_the_configurations_of_the_documentation_are_accepted(name: str) -> None:
    if not SHARED.exists():
        pytest.skip("the documentation's configurations are not on this machine")
    config = read_bmdexpress_config(SHARED / f"bmdexpress3_analyze_{name}.json")
    (analysis,) = config.analyses
    assert analysis.model_averaging == (name == "DTT")
    assert analysis.prefilters[0].method == "williams"
