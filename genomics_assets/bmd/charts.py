"""Which pictures an experiment gets; how they look is `pictures`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genomics_assets.bmd.analysis import genes_of, selection_of, stored_categories
from genomics_assets.bmd.analysis_settings import AnalysisSettings
from genomics_assets.bmd.best_model import select_best_models
from genomics_assets.bmd.experiment import Experiment
from genomics_assets.bmd.fitting import ModelFits
from genomics_assets.bmd.pictures import (
    accumulation_picture,
    best_model_picture,
    category_bubble_picture,
    category_range_picture,
    dose_response_picture,
)
from genomics_assets.bmd.platform_annotation import PlatformAnnotation
from genomics_assets.bmd.points_of_departure import points_of_departure
from genomics_assets.bmd.stored_results import NewChart, StoredResult

if TYPE_CHECKING:
    import pyarrow as pa


def all_charts(
    experiment: Experiment,
    table: pa.Table,
    result: StoredResult,
    filtered: StoredResult,
    categories: StoredResult,
    annotation: PlatformAnnotation,
    settings: AnalysisSettings,
) -> list[NewChart]:
    """Curves of the most sensitive probes, accumulation of genes, shares of models, and gene sets where there are some.

    Args:
        experiment: with its numbers.
        table: the stored fits.
        result: the choice of models.
        filtered: the prefilter's result.
        categories: the results of gene sets.
        annotation: the platform.
        settings: of the analysis.
    """
    probes, fits = ModelFits.from_table(table)
    best = select_best_models(fits, selection_of(result))
    genes = genes_of(table, result, filtered, annotation, settings)
    sets = stored_categories(categories, settings)
    place = {probe: row for row, probe in enumerate(experiment.matrix.probes)}
    responses = experiment.matrix.responses[[place[probe] for probe in probes]]
    doses = experiment.matrix.doses
    charts = [
        NewChart("dose response", dose_response_picture(probes, doses, responses, fits, best)),
        NewChart("accumulation", accumulation_picture(genes, points_of_departure(genes, sets))),
        NewChart("best models", best_model_picture(fits, best)),
    ]
    if sets is not None:
        charts += [
            NewChart("category bubbles", category_bubble_picture(sets)),
            NewChart("category ranges", category_range_picture(sets)),
        ]
    return charts
