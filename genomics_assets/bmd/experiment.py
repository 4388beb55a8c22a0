"""A dose-response experiment: what was dropped, and what the store knows of it.

One dropped matrix is one experiment of the project that its folder names; other bytes, or another way to read
them, under the same name are another version of it, with an id of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genomics_assets.bmd.expression_matrix import MAX_NAME_LENGTH, ExpressionMatrix
from genomics_assets.input_error import InputError

GENERIC_CHIP = "generic"


@dataclass(frozen=True)
class DroppedExperiment:
    """An experiment as it was dropped.

    Attributes:
        project: the folder below `bmd/`.
        name: the file's path below that, without its ending.
        matrix: what the file holds.
        file_path: where it lay.
        file_hash: SHA-256 of its bytes.
        log_transformation: what was already done to the numbers: NONE, BASE2, BASE10 or NATURAL.
        chip: the platform; `generic` stands for none.
        options: all that the sidecar asks for, defaults filled in; JSON.
        notes: what is done otherwise than the sidecar says.
    """

    project: str
    name: str
    matrix: ExpressionMatrix
    file_path: str
    file_hash: str
    log_transformation: str
    chip: str = GENERIC_CHIP
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def identity(self) -> str:
        """SHA-256 of all that makes it another experiment when it changes: numbers, names, scale, platform."""
        text = f"{self.matrix.digest()} {self.log_transformation} {self.chip}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class StoredExperiment:
    """A version of an experiment in the store.

    Attributes:
        id: its row in `bmd.dose_response_experiments`.
        project_id: its project.
        partition_key: `<project>/<experiment>`.
        name: within the project.
        identity: see `DroppedExperiment.identity`.
        file_path: where the file lay.
        file_hash: SHA-256 of the file as dropped.
        log_transformation: NONE, BASE2, BASE10 or NATURAL.
        chip: the platform; `generic` stands for none.
        options: what the sidecar asks for.
        matrix_key: the object that holds the responses.
        num_probes: rows of the matrix.
        num_treatments: columns of the matrix.
    """

    id: int
    project_id: int
    partition_key: str
    name: str
    identity: str
    file_path: str
    file_hash: str
    log_transformation: str
    chip: str
    options: Mapping[str, Any]
    matrix_key: str
    num_probes: int
    num_treatments: int


@dataclass(frozen=True)
class Experiment:
    """A stored experiment with its numbers."""

    stored: StoredExperiment
    matrix: ExpressionMatrix = field(repr=False)


def split_partition_key(partition_key: str) -> tuple[str, str]:
    """Project and experiment of a partition.

    Raises:
        InputError: the file lies in no project's folder, or a name is too long.

    >>> split_partition_key("liver/day5/heparg")
    ('liver', 'day5/heparg')
    """
    project, _, name = partition_key.partition("/")
    if not name:
        raise InputError(
            "the matrix lies in no project's folder", remedy="drop it as bmd/<project>/<experiment>.txt"
        )
    for what, text in (("project", project), ("experiment", name)):
        if len(text) > MAX_NAME_LENGTH:
            raise InputError(
                f"the {what}'s name has {len(text)} characters, {MAX_NAME_LENGTH} are the limit",
                remedy="rename it",
            )
    return project, name
