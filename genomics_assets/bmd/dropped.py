"""From a dropped matrix and its sidecar to an experiment; and the check that its platform and gene sets fit it.

Opening a drop is handed in, for it may lie in a bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.bmd.analysis_settings import AnalysisSettings, read_analysis_settings, read_bmdexpress_config
from genomics_assets.bmd.experiment import DroppedExperiment, split_partition_key
from genomics_assets.bmd.expression_matrix import ExpressionMatrix, read_expression_matrix
from genomics_assets.bmd.reference_files import file_digest
from genomics_assets.drops import Drop
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import parse_sidecar

if TYPE_CHECKING:
    from genomics_assets.bmd.gene_sets import GeneSets
    from genomics_assets.bmd.platform_annotation import PlatformAnnotation

Opened = Callable[[Drop | str], AbstractContextManager[Path]]
