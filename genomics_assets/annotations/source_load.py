"""One version of one source before its rows are read, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genomics_assets.annotations.field_config import SourceField
from genomics_assets.annotations.source_files import SourceFolder
from genomics_assets.annotations.source_records import SourceStream, SourceTally, read_head
from genomics_assets.input_error import InputError
from genomics_assets.variants.record import Genome

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.variants.alleles import ReferenceFasta

# Sources of fewer rows than this may change as they like: a tolerance says nothing about them.
FEW_ROWS = 100


@dataclass(frozen=True)
class Likeness:
    """How much a new version may differ from the last.

    Attributes:
        row_tolerance: by which part of the last one's rows the number of rows may differ.
        least_overlap: which part of the last one's keys must be there still.
        accept_any: take whatever comes.
    """

    row_tolerance: float = 0.5
    least_overlap: float = 0.5
    accept_any: bool = False


@dataclass(frozen=True)
class SourceLoad:
    """A version of a source; its rows come from `batches`, and `tally` is whole once they are exhausted.

    Attributes:
        name: the source's.
        type: what it is, such as ClinVar.
        file_path: where it was dropped.
        optional_fields: whether a column without any value is usual, as in a ready-made list.
    """

    name: str
    type: str
    version: str | None
    assembly: str | None
    file_path: str
    content_hash: str
    fields: tuple[SourceField, ...]
    optional_fields: bool
    likeness: Likeness
    batches: Callable[[], Iterator[pa.RecordBatch]]
    tally: Callable[[], SourceTally]


@dataclass(frozen=True)
class Rollback:
    """That the version before is to stand again.

    Attributes:
        name: the source's.
    """

    name: str


def prepare_load(
    folder: SourceFolder,
    *,
    file_path: str,
    genome: Genome,
    fasta: Path | None,
    likeness: Likeness,
    unchanged: Callable[[], bool],
) -> SourceLoad:
    """A load of what lies in a source's folder; records are read when its batches are.

    Raises:
        InputError: a header cannot be taken, or a field is not there.
    """
    head = read_head(folder)
    stream = SourceStream(folder, head.fields, genome=genome, reference=_reference(fasta))

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from stream.batches()
        except InputError as error:
            if unchanged():
                raise
            raise _changed() from error
        if not unchanged():
            raise _changed()

    kind = folder.sidecar.type or (folder.ready.type if folder.ready else folder.name)
    return SourceLoad(
        folder.name,
        kind[:50],
        head.version,
        head.assembly,
        file_path,
        folder.content_hash(),
        head.fields,
        folder.optional_fields,
        likeness,
        batches,
        lambda: stream.tally,
    )


def check_content(load: SourceLoad, rows: int, had_values: Mapping[str, int] | None) -> None:
    """Refuse a version without rows, or with a column without any value.

    Args:
        load: what was read.
        rows: how many rows are left without duplicates.
        had_values: rows with a value in the last version, by column; None for the first version.

    Raises:
        InputError: what is wrong, and the remedy.
    """
    if rows == 0:
        raise InputError(
            "not one usable record" + _rejects(load.tally()),
            remedy="copy the file again from its source; the version before stays",
        )
    present = load.tally().present
    empty = [
        field.alias
        for field in load.fields
        if present.get(field.alias, 0) == 0
        and (not load.optional_fields or (had_values or {}).get(field.alias, 0) > 0)
    ]
    if empty:
        raise InputError(
            f"no record has a value for {', '.join(empty)}",
            remedy="take the field out of fields.json, correct its type, or copy the file again from its source",
        )


def check_likeness(load: SourceLoad, *, rows: int, last_rows: int, removed: int) -> None:
    """Refuse a version that is too unlike the last one to be the same source.

    Raises:
        InputError: by how much it differs, and the remedy.
    """
    likeness = load.likeness
    if likeness.accept_any:
        return
    accept = (
        "if it is meant, materialize this partition of annotations/annotation_source with `accept_any: true`"
    )
    difference = abs(rows - last_rows)
    if difference > max(FEW_ROWS, likeness.row_tolerance * last_rows):
        raise InputError(
            f"{rows:,} rows where the last version has {last_rows:,}",
            remedy=f"see whether the file is whole; {accept}",
        )
    if removed > max(FEW_ROWS, (1 - likeness.least_overlap) * last_rows):
        raise InputError(
            f"{removed:,} of the last version's {last_rows:,} variants are gone",
            remedy=f"see whether it is of the same assembly; {accept}",
        )


def _rejects(tally: SourceTally) -> str:
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.rejected.items()))
    return f" ({told})" if told else ""


def _reference(fasta: Path | None) -> ReferenceFasta | None:
    if fasta is None:
        return None
    from genomics_assets.variants.alleles import ReferenceFasta

    return ReferenceFasta(fasta)


def _changed() -> InputError:
    return InputError(
        "a file of the source changed while it was being loaded",
        remedy="nothing to do: it is taken again when it holds still",
    )
