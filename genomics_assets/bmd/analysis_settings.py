"""What is to be done with an experiment: its YAML sidecar, or a BMDExpress-3 `analyze` configuration, unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from genomics_assets.bmd.best_model import FlaggedHill, LimitUse, SelectionSettings
from genomics_assets.bmd.categories import CategorySettings, CategoryType
from genomics_assets.bmd.design import LogTransformation
from genomics_assets.bmd.fitting import ETAP_MODELS, BenchmarkResponse, Compat, FitSettings
from genomics_assets.bmd.gene_bmds import ProbeFilters
from genomics_assets.bmd.models import ModelName
from genomics_assets.bmd.platform_annotation import GENERIC
from genomics_assets.bmd.prefilters import PrefilterSettings
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

Engine = Literal["native", "pybmds"]
Variance = Literal["constant", "non_constant", "lognormal"]

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class AnalysisSettings:
    """The keys of `bmd/<project>/<experiment>.yaml`; everything has a default.

    Attributes:
        log_transformation: what was done to the responses before.
        chip: the platform.
        prefilter: one, a list of them that follow one another, or `null` for none.
        models, bmr, compat, monotonic_poly2, restart, confidence: see `FitSettings`.
        engine: `native`, or EPA's `pybmds` in an environment of its own.
        variance: other than `constant` only with `pybmds`.
        best_model: how the best model is chosen; its `compat` is that of the fits unless it says otherwise.
        probe_filters: between best models and genes.
        gene_sets: the collection; none: no category analysis but that by gene.
        categories: which sets are kept.
        model_averaging: whether the fits are averaged too.
    """

    log_transformation: LogTransformation = "BASE2"
    chip: str = GENERIC
    prefilter: PrefilterSettings | tuple[PrefilterSettings, ...] | None = field(
        default_factory=PrefilterSettings
    )
    models: tuple[ModelName, ...] = ETAP_MODELS
    bmr: BenchmarkResponse = field(default_factory=BenchmarkResponse)
    compat: Compat = "bmds"
    monotonic_poly2: bool = False
    restart: bool = True
    confidence: float = 0.95
    engine: Engine = "native"
    variance: Variance = "constant"
    best_model: SelectionSettings = field(default_factory=SelectionSettings)
    probe_filters: ProbeFilters = field(default_factory=ProbeFilters)
    gene_sets: str | None = None
    categories: CategorySettings = field(default_factory=CategorySettings)
    model_averaging: bool = False

    def __post_init__(self) -> None:
        if self.engine == "native" and self.variance != "constant":
            raise InputError(
                f"variance {self.variance} is beyond the native engine", remedy="add `engine: pybmds`"
            )
        _ = self.fit_settings  # its own checks

    @property
    def prefilters(self) -> tuple[PrefilterSettings, ...]:
        """The prefilters, in order."""
        if self.prefilter is None:
            return ()
        return (self.prefilter,) if isinstance(self.prefilter, PrefilterSettings) else self.prefilter

    @property
    def fit_settings(self) -> FitSettings:
        """What is fitted."""
        return FitSettings(
            self.models, self.bmr, self.compat, self.monotonic_poly2, self.restart, self.confidence
        )


def read_analysis_settings(path: Path) -> AnalysisSettings:
    """Read an experiment's YAML sidecar.

    Raises:
        InputError: with file and line: an unknown key, a value that is none of the choices; see `read_sidecar`.
    """
    return read_sidecar(path, AnalysisSettings)


# -- BMDExpress-3 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpressionInput:
    """An expression matrix that a configuration names."""

    file: str
    log_transformation: LogTransformation
    platform: str
    has_headers: bool | None = None


@dataclass(frozen=True)
class CategoryInput:
    """A category analysis that a configuration asks for.

    Attributes:
        kind: go, pathway, defined or gene.
        collection: the part of the ontology, the pathway database or the category file; None by gene.
        probe_map: of a defined analysis.
        filters, settings: as of this project.
    """

    kind: str
    collection: str | None
    probe_map: str | None
    filters: ProbeFilters
    settings: CategorySettings


@dataclass(frozen=True)
class BmdExpressConfig:
    """A BMDExpress-3 `analyze` configuration.

    Attributes:
        inputs: its matrices.
        analyses: one for each BMD analysis and model average, with the first category analysis as its own.
        categories: all category analyses.
        notes: what this project does otherwise than the configuration says.
    """

    inputs: tuple[ExpressionInput, ...]
    analyses: tuple[AnalysisSettings, ...]
    categories: tuple[CategoryInput, ...]
    notes: tuple[str, ...] = field(default=())


def read_bmdexpress_config(path: Path) -> BmdExpressConfig:
    """Read a BMDExpress-3 `analyze` configuration.

    Raises:
        InputError: not JSON, a key that BMDExpress-3 does not know, a choice out of range, a model that is not here.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            "a configuration of more than a megabyte", remedy="drop data apart from it", file=path.name
        )
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text at byte {error.start}", remedy="save it as UTF-8", file=path.name
        ) from None
    try:
        return parse_bmdexpress_config(text)
    except InputError as error:
        raise error.in_file(path.name) from None


def parse_bmdexpress_config(text: str) -> BmdExpressConfig:
    """Read the text of a configuration; see `read_bmdexpress_config`."""
    try:
        said = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise InputError(
            "not JSON", remedy="drop an `analyze` configuration of BMDExpress-3", line=line
        ) from None
    top = _Section(said, "the file")
    top.ignore("bm2FileName", "jsonExportFileName", "overwrite", "basePath")
    inputs = tuple(_input(section) for section in top.sections("expressionDataConfigs"))
    prefilters = [_prefilter(section) for section in top.sections("preFilterConfigs")]
    categories = tuple(_category(section) for section in top.sections("categoryAnalysisConfigs"))
    notes: list[str] = []
    analyses = [
        _analysis(section, averaging, prefilters, notes)
        for name, averaging in (("bmdsConfigs", False), ("maConfigs", True))
        for section in top.sections(name)
    ]
    if skipped := len(list(top.sections("nonParametricConfigs"))):
        notes.append(f"{skipped} GCurveP analyses are left out: the models here are parametric")
    top.done()
    return BmdExpressConfig(
        inputs,
        tuple(_complete(analysis, inputs, categories) for analysis in analyses),
        categories,
        tuple(notes),
    )


class _Section:
    """An object of the configuration that must be asked for all of its keys."""

    def __init__(self, said: Any, where: str) -> None:
        if not isinstance(said, Mapping):
            raise InputError(
                f"{where} is not an object", remedy="see BMDExpress-3's documentation of `analyze`"
            )
        self.said, self.where = said, where
        self.left = set(said)

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        self.left.discard(key)
        value = self.said.get(key)
        if value is None:
            return default
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kind):
            raise InputError(f"{self.where}: {key} is {value!r}"[:200], remedy="write a value of its kind")
        return value

    def number(self, key: str, default: float | None = None) -> Any:
        return self.get(key, (int, float), default)

    def truth(self, key: str, default: bool) -> bool:
        return bool(self.get(key, bool, default))

    def choice(self, key: str, choices: Mapping[Any, Any], default: Any) -> Any:
        value = self.get(key, (int, str), default)
        if value not in choices:
            raise InputError(
                f"{self.where}: {key} is {value!r}"[:200],
                remedy=f"the choices are {', '.join(map(str, choices))}",
            )
        return choices[value]

    def sections(self, key: str) -> Iterator[_Section]:
        self.left.discard(key)
        for place, said in enumerate(self.said.get(key) or []):
            yield _Section(said, f"{key}[{place}]")

    def section(self, key: str) -> _Section:
        self.left.discard(key)
        return _Section(self.said.get(key) or {}, f"{self.where}.{key}")

    def ignore(self, *keys: str) -> None:
        self.left.difference_update(keys)

    def done(self) -> None:
        if self.left:
            raise InputError(
                f"{self.where}: unknown key {min(self.left)!r}", remedy="remove it, or correct its spelling"
            )


def _input(section: _Section) -> ExpressionInput:
    words = ("NONE", "BASE2", "BASE10", "NATURAL")
    found = ExpressionInput(
        file=section.get("inputFileName", str, ""),
        log_transformation=section.choice("logTransformation", dict(zip(words, words, strict=True)), "BASE2"),
        platform=section.get("platform", str, GENERIC),
        has_headers=section.get("hasHeaders", bool),
    )
    section.ignore("outputName")
    section.done()
    return found


_METHODS = {"anova": "anova", "williams": "williams", "oriogen": "oriogen", "curvefit": "curve_fit"}


def _prefilter(section: _Section) -> tuple[str, str | None, PrefilterSettings]:
    """Its `@type`, what it reads, and its settings."""
    kind = section.choice("@type", {name: name for name in _METHODS}, None)
    read = section.get("inputCategory", str)
    fold = section.number("foldChange", 2.0)
    uses_fold = section.truth("useFoldChange", True)
    default = PrefilterSettings()
    models = tuple(_model(model) for model in section.sections("modelConfigs"))
    settings = PrefilterSettings(
        method=cast(Any, _METHODS[kind]),
        p_value_cutoff=section.number("pValueCutoff", default.p_value_cutoff),
        use_multiple_testing_correction=section.truth("useMultipleTestingCorrection", False),
        filter_out_control_genes=section.truth("filterOutControlGenes", True),
        fold_change=float(fold) if uses_fold else None,
        fold_change_lotel=float(section.number("foldChangeLotel", default.fold_change_lotel)),
        p_value_lotel=section.number("pValueLotel", default.p_value_lotel),
        lotel_test=section.choice("lotelTest", {1: "dunnett", 2: "welch"}, 1),
        permutations=int(section.number("numberOfPermutations", default.permutations)),
        initial_bootstraps=int(section.number("initialBootstraps", default.initial_bootstraps)),
        max_bootstraps=int(section.number("maxBootstraps", default.max_bootstraps)),
        s0_adjustment=section.number("s0Adjustment", default.s0_adjustment),
        models=models or default.models,
        bmr=BenchmarkResponse("sd", section.number("bmrFactor", default.bmr.factor)),
    )
    section.ignore("inputName", "outputName", "numberOfThreads", "poly2BmrFactor", "constantVariance")
    section.done()
    return kind, read, settings


def _model(section: _Section) -> ModelName:
    kind = section.choice("@type", {name: name for name in ("hill", "power", "poly", "exp")}, None)
    if kind == "poly":
        degrees = {1: "linear", 2: "poly2", 3: "poly3", 4: "poly4"}
        return cast(ModelName, section.choice("degree", degrees, 2))
    if kind == "exp":
        return cast(ModelName, section.choice("expModel", {n: f"exp{n}" for n in (2, 3, 4, 5)}, 3))
    return cast(ModelName, kind)


_LIMIT_USES: dict[int, LimitUse] = {
    1: "compute_and_utilize", 2: "compute_but_ignore", 3: "do_not_compute", 4: "compute_and_utilize_bmd_bmdl",
}  # fmt: skip
_FLAGGED_HILL: dict[int, FlaggedHill] = {
    1: "include", 2: "exclude_flagged", 3: "exclude_all_hill", 4: "modify", 5: "next_best",
}  # fmt: skip


def _analysis(
    section: _Section,
    averaging: bool,
    prefilters: list[tuple[str, str | None, PrefilterSettings]],
    notes: list[str],
) -> AnalysisSettings:
    models = tuple(dict.fromkeys(_model(model) for model in section.sections("modelConfigs")))
    wanted = section.section("bmdsInputConfig")
    chosen = section.section("bmdsBestModelSelection")
    constant = wanted.truth("constantVariance", True)
    bmr = BenchmarkResponse(
        wanted.choice("bmrType", {1: "sd", 2: "relative"}, 1),
        wanted.number("bmrFactor", BenchmarkResponse().factor),
    )
    monotonic = wanted.truth("restrictPolyToMonotonic", False)
    if wanted.choice("bmdUBmdLEstimationMethod", {1: False, 2: True}, 1):
        notes.append("Wald limits were asked for; limits here are those of the profile likelihood")
    if averaging:
        notes.append("model averages use the weights of AIC in the place of Laplace's method or MCMC")
    wanted.ignore("stepFunctionThreshold", "confidenceLevel", "maximumIterations")
    best_model = SelectionSettings(
        best_poly=chosen.choice("bestPolyTest", {1: "nested_chi_squared", 2: "lowest_aic"}, 2),
        poly_p_value_cutoff=chosen.number("pValueCutoff", chosen.number("pValueCutOff", 0.05)),
        bmdl_bmdu=chosen.choice("bmdlBMDUUse", _LIMIT_USES, 1),
        flag_hill=chosen.truth("flagHillWithKParameter", True),
        hill_k_ratio=chosen.choice("kParameterValue", {1: 1.0, 2: 1 / 2, 3: 1 / 3}, 2),
        flagged_hill=chosen.choice("bestModelSelectionWithFlaggedHill", _FLAGGED_HILL, 5),
    )
    chosen.ignore("modifyFlaggedHillWithFractionMinBMD", "modifyFlaggedHillWtihFractionMinBMD")
    chain = _chain(section.get("inputCategory", str, "expression"), prefilters, section.where)
    section.choice("method", {1: 1, 2: 2}, 1)
    section.ignore("inputName", "outputName", "numberOfThreads", "killTime")
    for part in (wanted, chosen, section):
        part.done()
    return AnalysisSettings(
        prefilter=(chain[0] if len(chain) == 1 else chain) if chain else None,
        models=models or ETAP_MODELS,
        bmr=bmr,
        compat="bmdexpress3",
        monotonic_poly2=monotonic,
        engine="native" if constant else "pybmds",
        variance="constant" if constant else "non_constant",
        best_model=best_model,
        model_averaging=averaging,
    )


def _chain(
    category: str, prefilters: list[tuple[str, str | None, PrefilterSettings]], where: str
) -> tuple[PrefilterSettings, ...]:
    """The prefilters from the matrix to what an analysis reads, the first of each kind."""
    kind: str | None = category.removesuffix("_prefilter")
    chain: list[PrefilterSettings] = []
    while kind not in (None, "expression"):
        found = next(((read, settings) for name, read, settings in prefilters if name == kind), None)
        if found is None or len(chain) > len(prefilters):
            raise InputError(
                f"{where}: inputCategory {category!r} leads to no prefilter",
                remedy="add it to preFilterConfigs",
            )
        kind, settings = found
        chain.insert(0, settings)
    return tuple(chain)


def _category(section: _Section) -> CategoryInput:
    kinds: dict[str, CategoryType] = {"go": "GO", "pathway": "PATHWAY", "defined": "DEFINED", "gene": "GENE"}
    kind = section.choice("@type", {name: name for name in kinds}, None)
    number: Callable[[str], float | None] = section.number
    prefilter_p = [
        section.number(key)
        for key in (
            "prefilterPValueMin",
            *(f"{name}PrefilterPValueMaxValue" for name in ("anova", "williams", "oriogen")),
        )
    ]
    adjusted_p = [
        section.number(key)
        for key in (
            "prefilterAdjustedPValueMin",
            *(f"{name}PrefilterAdjustedPValueMaxValue" for name in ("anova", "williams", "oriogen")),
        )
    ]
    filters = ProbeFilters(
        remove_promiscuous_probes=section.truth("removePromiscuousProbes", True),
        remove_bmd_above_highest_dose=section.truth("removeBMDGreaterHighDose", True),
        fit_p_value_cutoff=number("bmdPValueCutoff"),
        r_squared_cutoff=number("bmdRSquaredCutoff"),
        bmd_bmdl_ratio=number("bmdBMDLRatioMin"),
        bmdu_bmd_ratio=number("bmduBMDRatioMin"),
        bmdu_bmdl_ratio=number("bmduBMDLRatioMin"),
        bmd_fold_below_lowest_dose=number("nFoldBelowLowestDose"),
        fold_change=number("maxFoldChange"),
        prefilter_p_value_cutoff=next((p for p in prefilter_p if p is not None), None),
        prefilter_adjusted_p_value_cutoff=next((p for p in adjusted_p if p is not None), None),
        prefilter_fit_p_value_cutoff=number("curveFitPrefilterGoFMinValue"),
        remove_step_functions=section.truth("removeStepFunction", False),
        remove_steps_below_lowest_dose=section.truth("removeStepFunctionWithBMDLower", False),
        direction=section.choice("removeAdverseDirection", {0: None, 1: "up", -1: "down"}, 0),
    )
    least, most = section.number("minGenesInSet"), section.number("maxGenesInSet")
    section.truth("identifyConflictingProbeSets", False)
    settings = CategorySettings(
        category_type=kinds[kind],
        min_genes=None if least is None else int(least),
        max_genes=None if most is None else int(most),
        deduplicate=section.truth("deduplicateGeneSets", False),
        conflict_correlation=section.number("correlationCutoffForConflictingProbeSets", 0.5),
        compat="bmdexpress3",
    )
    keys = {"go": "goCategory", "pathway": "signalingPathway", "defined": "categoryFilePath"}
    collection = section.get(keys[kind], str) if kind in keys else None
    probe_map = section.get("probeFilePath", str) if kind == "defined" else None
    section.ignore("inputName", "outputName", "computeIVIVE", "iviveConfig")
    section.done()
    return CategoryInput(kind, collection, probe_map, filters, settings)


def _complete(
    analysis: AnalysisSettings, inputs: tuple[ExpressionInput, ...], categories: tuple[CategoryInput, ...]
) -> AnalysisSettings:
    """With what the matrices and the category analyses say, where they agree or come first."""
    if inputs:
        analysis = replace(analysis, log_transformation=inputs[0].log_transformation, chip=inputs[0].platform)
    if not categories:
        return analysis
    first = next((category for category in categories if category.kind != "gene"), categories[0])
    name = None if first.kind == "gene" else Path(first.collection or first.kind).stem
    return replace(analysis, probe_filters=first.filters, categories=first.settings, gene_sets=name)
