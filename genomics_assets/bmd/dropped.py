"""From a dropped matrix and its sidecar to an experiment; and whether its platform and gene sets fit it.

Opening a drop is handed in, for it may lie in a bucket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.bmd.analysis_settings import (
    AnalysisSettings,
    BmdExpressConfig,
    read_analysis_settings,
    read_bmdexpress_config,
)
from genomics_assets.bmd.experiment import DroppedExperiment, split_partition_key
from genomics_assets.bmd.expression_matrix import read_expression_matrix
from genomics_assets.bmd.reference_files import file_digest
from genomics_assets.drops import Drop
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import parse_sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genomics_assets.bmd.gene_sets import GeneSets
    from genomics_assets.bmd.platform_annotation import PlatformAnnotation

Opened = Callable[[Drop | str], AbstractContextManager[Path]]

# Below this share of probes that a platform knows, the matrix is of another platform.
LEAST_MAPPED_SHARE = 0.1


def read_experiment(drop: Drop, *, opened: Opened) -> DroppedExperiment:
    """Read a dropped matrix and what lies beside it.

    Raises:
        InputError: the matrix or the sidecar cannot be taken, there are two sidecars, or the file lies in no project.
    """
    project, name = split_partition_key(drop.partition_key)
    asked = _asked(drop, opened)
    with opened(drop) as path:
        return DroppedExperiment(
            project=project,
            name=name,
            matrix=read_expression_matrix(path, has_headers=asked.has_headers),
            file_path=drop.uri,
            file_hash=file_digest(path),
            log_transformation=asked.settings.log_transformation,
            chip=asked.settings.chip,
            options=options_of(asked.settings),
            notes=asked.notes,
        )


@dataclass(frozen=True)
class _Asked:
    """What a sidecar asks for.

    Attributes:
        settings: of the analysis.
        has_headers: whether it says that samples are named.
        notes: what is done otherwise than it says.
    """

    settings: AnalysisSettings
    has_headers: bool | None = None
    notes: Sequence[str] = ()


def _asked(drop: Drop, opened: Opened) -> _Asked:
    """From YAML, or from BMDExpress-3's `analyze` JSON, of whose analyses the first is taken."""
    if len(drop.sidecars) > 1:
        raise InputError("both a YAML and a JSON sidecar", remedy="keep one of the two", file=drop.uri)
    for uri in drop.sidecars:
        with opened(uri) as path:
            if path.suffix.lower() != ".json":
                return _Asked(read_analysis_settings(path))
            config = read_bmdexpress_config(path)
            if not config.analyses:
                raise InputError(
                    "no BMD analysis is configured",
                    remedy="add one to bmdsConfigs or maConfigs",
                    file=path.name,
                )
            return _Asked(
                config.analyses[0],
                config.inputs[0].has_headers if config.inputs else None,
                [*_left_out(config), *dict.fromkeys(config.notes)],
            )
    return _Asked(AnalysisSettings())


def _left_out(config: BmdExpressConfig) -> Iterator[str]:
    """What of a configuration is not done: an experiment here has one analysis and one category analysis."""
    for parts, what in ((config.analyses, "analyses"), (config.categories, "category analyses")):
        if len(parts) > 1:
            yield (
                f"{len(parts)} {what} are configured and only the first one is done. Remedy: for the others drop the "
                "matrix again under other names, each with its own configuration."
            )


def options_of(settings: AnalysisSettings) -> dict[str, Any]:
    """Settings as JSON, to be kept with the experiment."""
    return asdict(settings)


def settings_of(options: Mapping[str, Any]) -> AnalysisSettings:
    """The settings that `options_of` made JSON of.

    Raises:
        InputError: they were kept by a version that knew other options.
    """
    return parse_sidecar(json.dumps(options), AnalysisSettings)


def check_reference(
    probes: Sequence[str], chip: str, annotation: PlatformAnnotation, gene_sets: GeneSets | None
) -> None:
    """Make sure that a matrix is of its platform, and that the gene sets are of the platform's genes.

    Raises:
        InputError: almost no probe is known to the platform, or no gene of any set is on it.
    """
    mapped = sum(probe in annotation.genes_by_probe for probe in probes)
    if mapped < LEAST_MAPPED_SHARE * len(probes):
        raise InputError(
            f"{mapped:,} of {len(probes):,} probes belong to platform {chip!r}",
            remedy="name the matrix's own platform as `chip` in the sidecar, or drop its probe map",
        )
    if gene_sets is None:
        return
    on_platform = {gene for probe in probes for gene in annotation.genes_by_probe.get(probe, ())}
    if not any(gene in on_platform for one in gene_sets.sets for gene in one.genes):
        example = gene_sets.sets[0].genes[0]
        raise InputError(
            f"no gene of the sets {gene_sets.name!r} is on platform {chip!r}",
            remedy=f"use sets and a platform with the same kind of gene ids (the sets have ids such as {example!r})",
        )
