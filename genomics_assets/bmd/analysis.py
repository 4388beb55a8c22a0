"""The stages of an analysis, each from what is stored to what is to be stored.

What is computed is in the modules that are called; here it is put together, named, and given its lineage: parameters,
hashes of the inputs, versions, and ids upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from genomics_assets.bmd.best_model import BestModels, SelectionSettings, select_best_models
from genomics_assets.bmd.experiment import Experiment
from genomics_assets.bmd.fitting import FitSettings, ModelFits, fit_models
from genomics_assets.bmd.prefilters import PREFILTER_TYPES, PrefilterSettings, prefilter
from genomics_assets.bmd.stored_results import NewFits, NewResult, StoredResult

if TYPE_CHECKING:
    import pyarrow as pa

# Changes when the same inputs and parameters would give other results.
ENGINE_VERSION = "native 1"
BMD_METHOD = "BMDS"

Progress = Callable[[float], None]
