"""From a dropped batch to the cause of each death by each algorithm: what was read, rejected, and assigned.

The work of one batch in one place: the form of the file is told by its columns, raw answers are converted, contradictions
are cleared by each algorithm in its own way, and records that none can work on are rejected with their reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy import eava, insilicova, interva
from genomics_assets.verbal_autopsy.batch_settings import BatchSettings
from genomics_assets.verbal_autopsy.broad_causes import BroadAssignment, assign_broad_causes
from genomics_assets.verbal_autopsy.consistency import AGES, unusable_records
from genomics_assets.verbal_autopsy.crossva import MappingTable, convert, odk_rows, read_mapping
from genomics_assets.verbal_autopsy.csmf import cause_counts
from genomics_assets.verbal_autopsy.eava import ExpertRules, read_rules
from genomics_assets.verbal_autopsy.probbase import Probbase, find_probbase, read_probbase
from genomics_assets.verbal_autopsy.reference_file import (
    SYNTHETIC,
    check_reference,
    find_reference,
    list_reference,
    made_up_reference,
)
from genomics_assets.verbal_autopsy.result_documents import AssignedCauses
from genomics_assets.verbal_autopsy.submission import (
    Reject,
    SymptomRecords,
    Table,
    answers_in,
    check_any_left,
    describe_rejects,
    form_of,
    of_age_group,
    read_causes,
    read_symptoms,
)
from genomics_assets.verbal_autopsy.synthetic_reference import MARKER

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str, float], None]

_DETAILS = b"assignment"


@dataclass(frozen=True)
class AssignmentReference:
    """What assigning causes needs of others; None where the algorithms of a batch do without it."""

    probbase: Probbase | None = None
    rules: ExpertRules | None = None
    mapping: MappingTable | None = None

    @property
    def is_synthetic(self) -> bool:
        """Whether a part of it was made up, for tests and demonstration."""
        return any(part is not None and part.is_synthetic for part in (self.probbase, self.rules))

    @property
    def used(self) -> dict[str, dict[str, str]]:
        """Version and sha256 of each part."""
        told = {}
        if self.probbase is not None:
            told["probbase"] = {"version": self.probbase.version, "sha256": self.probbase.sha256}
        if self.rules is not None:
            told["eava_rules"] = {"version": self.rules.version, "sha256": self.rules.sha256}
        if self.mapping is not None:
            told["crossva_mapping"] = {"version": self.mapping.sha256[:12], "sha256": self.mapping.sha256}
        return told


@dataclass(frozen=True)
class Assignment:
    """The causes of a batch.

    Attributes:
        assigned: for each algorithm its causes and fractions.
        records: of the file.
        taken: those of them that an algorithm gave a cause.
        rejects: a row for each reason: `reason`, `count`, `meaning` and the first `lines`.
        reference: version and sha256 of what was used.
    """

    assigned: tuple[AssignedCauses, ...]
    records: int
    taken: int
    rejects: list[dict[str, Any]]
    reference: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """How many records of the file were not taken."""
        return sum(int(row["count"]) for row in self.rejects)

    @property
    def is_synthetic(self) -> bool:
        """Whether a made-up reference had a part in it."""
        return any(SYNTHETIC in part["version"].lower() for part in self.reference.values())

    def broad(self, age_group: str) -> dict[str, BroadAssignment]:
        """The broad causes by algorithm, lower case.

        Raises:
            InputError: see `broad_causes.assign_broad_causes`; it names the algorithm.
        """
        found = {}
        for one in self.assigned:
            try:
                found[one.algorithm.lower()] = assign_broad_causes(list(one.causes), age_group)
            except InputError as error:
                raise InputError(f"{one.algorithm}: {error.problem}", remedy=error.remedy) from None
        return found

    def to_table(self) -> pa.Table:
        """One row for each death and algorithm: id, algorithm, cause; fractions and counts are in the schema's metadata."""
        import pyarrow as pa

        details = {
            "records": self.records,
            "taken": self.taken,
            "rejects": self.rejects,
            "reference": self.reference,
            "csmf": {one.algorithm: dict(one.csmf) for one in self.assigned},
        }
        columns = {
            "id": [key for one in self.assigned for key in one.ids],
            "algorithm": [one.algorithm for one in self.assigned for _ in one.ids],
            "cause": [cause for one in self.assigned for cause in one.causes],
        }
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        return table.replace_schema_metadata({_DETAILS: json.dumps(details)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Assignment:
        """What `to_table` gave."""
        details: dict[str, Any] = json.loads((table.schema.metadata or {})[_DETAILS])
        rows: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in details["csmf"]}
        columns = (table[name].to_pylist() for name in ("id", "algorithm", "cause"))
        for key, algorithm, cause in zip(*columns, strict=True):
            rows[algorithm][0].append(key)
            rows[algorithm][1].append(cause)
        assigned = tuple(
            AssignedCauses(name, ids, causes, details["csmf"][name]) for name, (ids, causes) in rows.items()
        )
        return cls(assigned, details["records"], details["taken"], details["rejects"], details["reference"])


def assignment_reference(folder: Path | None, settings: BatchSettings, table: Table) -> AssignmentReference:
    """The reference that a batch needs, read from its folder.

    Raises:
        InputError: something is missing or not whole; nothing is read that the batch can do without.
    """
    if not settings.assigns:
        return AssignmentReference()
    probbase = rules = mapping = None
    if {"InterVA", "InSilicoVA"} & set(settings.algorithms):
        probbase = read_probbase(find_probbase(folder))
    if "EAVA" in settings.algorithms:
        rules = find_rules(folder, settings.age_group)
    if form_of(table) == "odk":
        mapping = read_mapping(find_reference(folder, "crossva"))
    return AssignmentReference(probbase, rules, mapping)


def find_rules(folder: Path | None, age_group: str) -> ExpertRules:
    """The expert rules of an age group.

    Raises:
        InputError: there are none, or several files of them.
    """
    found = [read_rules(check_reference(path)) for path in list_reference(folder, "eava")]
    fitting = [rules for rules in found if rules.age_group == age_group]
    if len(fitting) != 1:
        raise InputError(
            f"{len(fitting) or 'no'} files of expert rules for age group {age_group}",
            remedy="put one eava*.yaml for it into the folder that GENOMICS_VA_REFERENCE names",
        )
    return fitting[0]


def assign_batch(
    table: Table,
    settings: BatchSettings,
    reference: AssignmentReference,
    *,
    progress: Progress = lambda phase, share: None,
) -> Assignment:
    """The causes of a batch by each of its algorithms; those of the file itself where it only is to be calibrated.

    Args:
        table: the batch.
        settings: its sidecar's.
        reference: what `assignment_reference` found.
        progress: told an algorithm and the share of it that is done.

    Raises:
        InputError: the batch cannot be taken; see `submission`.
    """
    form = form_of(table)
    if settings.assigns != (form != "causes"):
        raise InputError(
            f"job_type is {settings.job_type}, and the file holds {form}",
            remedy="write job_type: vacalibration for causes, openva_only or pipeline for symptoms",
        )
    if not settings.assigns:
        told = read_causes(table, settings.algorithms)
        given = [
            AssignedCauses(name, ids, causes, _shares(causes))
            for name, (ids, causes) in told.by_algorithm.items()
        ]
        taken = sum(len(one.ids) for one in given)
        return Assignment(tuple(given), table.records, taken, _described(told.rejects))
    records = _usable(_symptoms(table, settings, reference), table, settings, reference)
    work, assigned = _Work(records, table, settings, reference), []
    for name in settings.algorithms:
        progress(name, 0.0)
        assigned.append(work.causes_by(name, partial(progress, name)))
    return Assignment(
        tuple(assigned), table.records, len(records.ids), _described(records.rejects), reference.used
    )


def _described(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    return [
        dict(zip(("reason", "count", "meaning", "lines"), row, strict=True))
        for row in describe_rejects(rejects)
    ]


# -- records -----------------------------------------------------------------------------------------------------------


def _symptoms(table: Table, settings: BatchSettings, reference: AssignmentReference) -> SymptomRecords:
    names = _indicators(reference)
    if reference.mapping is None and reference.is_synthetic and MARKER not in table.columns:
        raise made_up_reference()
    if reference.mapping is None:
        return read_symptoms(table, names, settings.age_group)
    ids, kept, rejects = odk_rows(table)
    converted = convert(reference.mapping, table, names).answers[kept]
    records = SymptomRecords(ids, converted, kept, rejects)
    return of_age_group(records, names, settings.age_group, table.lines)


def _indicators(reference: AssignmentReference) -> tuple[str, ...]:
    """The columns of answers: of the probbase, else those that the rules look at, with age and sex."""
    if reference.probbase is not None:
        return reference.probbase.indicators
    assert reference.rules is not None  # noqa: S101 - a batch that assigns has one or the other
    told = [name for name in reference.rules.indicators if name != eava.AGE]
    return tuple(dict.fromkeys([*AGES, *told]))


def _usable(
    records: SymptomRecords, table: Table, settings: BatchSettings, reference: AssignmentReference
) -> SymptomRecords:
    if reference.probbase is None:
        return records
    for reason in unusable_records(reference.probbase, records.answers):
        # The records become fewer with each reason, so they are looked at anew.
        unusable = unusable_records(reference.probbase, records.answers)[reason]
        records = records.without(unusable, reason, table.lines)
    check_any_left(len(records.ids), records.rejects)
    return records


# -- algorithms ----------------------------------------------------------------------------------------------------------

Told = Callable[[float], None]


@dataclass(frozen=True)
class _Work:
    """The usable records of a batch, and what each algorithm needs beside them."""

    records: SymptomRecords
    table: Table
    settings: BatchSettings
    reference: AssignmentReference

    def causes_by(self, algorithm: str, progress: Told) -> AssignedCauses:
        if algorithm == "EAVA":
            causes = self._eava()
            return AssignedCauses(algorithm, self.records.ids, causes, _shares(causes))
        found = self._interva() if algorithm == "InterVA" else self._insilicova(progress)
        return AssignedCauses(algorithm, self.records.ids, found.top_causes, found.csmf())

    def _interva(self) -> interva.InterVaResult:
        return interva.assign_causes(
            self._probbase, self.records.answers, hiv=self.settings.hiv, malaria=self.settings.malaria
        )

    def _insilicova(self, progress: Told) -> insilicova.InSilicoResult:
        return insilicova.assign_causes(
            self._probbase, self.records.answers, self.settings.insilico, progress=progress
        )

    def _eava(self) -> list[str]:
        assert self.reference.rules is not None  # noqa: S101 - assignment_reference read them
        names = _indicators(self.reference)
        columns: Mapping[str, np.ndarray] = {
            name: self.records.answers[:, names.index(name)]
            if name in names
            else _column(name, self.records, self.table)
            for name in self.reference.rules.indicators
        }
        return eava.assign_causes(self.reference.rules, columns, len(self.records.ids))

    @property
    def _probbase(self) -> Probbase:
        assert self.reference.probbase is not None  # noqa: S101 - assignment_reference read it
        return self.reference.probbase


def _column(name: str, records: SymptomRecords, table: Table) -> np.ndarray:
    """A column that the probbase does not have: the age in days, or answers that only the expert rules ask for."""
    if name not in table.columns:
        raise InputError(
            f"the expert rules ask for column {name!r}, which the file does not have",
            remedy="add it (age is in days), or leave EAVA out",
        )
    cells, kept = table.column(name), records.kept.tolist()
    lines = [table.lines[row] for row in kept]
    if name == eava.AGE:
        return eava.ages_in_days([cells[row] for row in kept], lines)
    return answers_in([cells[row] for row in kept], name, lines)


def _shares(causes: list[str]) -> dict[str, float]:
    return {cause: count / len(causes) for cause, count in cause_counts(causes).items()}
