"""From a dropped file and its sidecars to what the warehouse needs: a description, a load, people, calls.

Opening a drop is handed in, for it may lie in a bucket; what is read is the file's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from genomics_assets.drops import Drop
from genomics_assets.input_error import InputError
from genomics_assets.variants.container import survey
from genomics_assets.variants.load import READER_VERSION, DroppedVcf, VariantLoad, new_load_id
from genomics_assets.variants.pedigree import PedigreeEntry, read_pedigree
from genomics_assets.variants.reader import ReadOptions, VariantStream, read_header
from genomics_assets.variants.record import Genome, Tally
from genomics_assets.variants.sidecar import VcfSidecar, read_vcf_sidecar

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.variants.alleles import ReferenceFasta

Opened = Callable[[Drop | str], AbstractContextManager[Path]]
Unchanged = Callable[[Drop], bool]

UNKNOWN_ASSEMBLY = "unknown"


def inspect_vcf(path: Path, *, partition_key: str, file_path: str) -> DroppedVcf:
    """Hash a file, walk its blocks, and read its header; no record is read.

    Raises:
        InputError: the file is cut, damaged, no VCF, or its header breaks a rule of docs/variants.md, section 9.
    """
    try:
        found = survey(path)
        header = read_header(path)
    except InputError as error:
        raise error.in_file(file_path) from error
    return DroppedVcf(partition_key, file_path, found.file_hash, found.size, found.kind, header)


def file_row(file: DroppedVcf, *, fingerprint: str) -> pa.Table:
    """The row of `genomics.vcf_files` that describes a file."""
    import pyarrow as pa

    header = file.header
    row = {
        "partition_key": file.partition_key,
        "file_path": file.file_path,
        "fingerprint": fingerprint,
        "file_hash": file.file_hash,
        "file_size": file.file_size,
        "container": file.container,
        "file_format": header.file_format,
        "reference_genome": header.assembly,
        "contigs": len(header.contigs),
        "samples_count": len(header.samples),
        "annotation_fields": json.dumps({tag: list(names) for tag, names in header.annotations.items()}),
        "tools": json.dumps(dict(header.tools)),
    }
    types = {"file_size": pa.int64(), "contigs": pa.int32(), "samples_count": pa.int32()}
    return pa.table({name: pa.array([value], types.get(name, pa.string())) for name, value in row.items()})


def file_hash_of(seen: pa.Table) -> str:
    """The hash in a file's row of `genomics.vcf_files`."""
    return str(seen["file_hash"][0].as_py())


def prepare_load(
    drop: Drop, seen: pa.Table, *, opened: Opened, unchanged: Unchanged, genome: Genome, fasta: Path | None
) -> VariantLoad:
    """A load of a file that `inspect_vcf` has taken; its rows are read when its batches are.

    Args:
        drop: the file as it is now.
        seen: its row of `genomics.vcf_files`.
        opened: gives a local path to a drop or one of its sidecars.
        unchanged: whether a drop still is what it was.
        genome: what the warehouse was made for.
        fasta: the reference to left-align against.

    Raises:
        InputError: the file changed since it was looked at, or a sidecar cannot be taken.
    """
    from genomics_assets.variants.schema import filled_columns

    row = seen.to_pylist()[0]
    _expect_as_seen(drop, seen)
    sidecar = _sidecar(drop, opened)
    # Read again for the samples; a pedigree that cannot be taken must stop the load before rows are visible.
    _pedigree(drop, opened)
    with opened(drop) as path:
        header = read_header(path, file_name=drop.uri)
    assembly = sidecar.reference_genome or header.assembly or UNKNOWN_ASSEMBLY
    load_id = new_load_id()
    tally = Tally()
    columns = filled_columns(
        annotated=bool(header.annotations), samples=len(header.samples), sample_id=sidecar.sample_id
    )

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal tally
        with opened(drop) as path:
            options = _options(drop, load_id, genome, fasta, sidecar.sample_id)
            stream = VariantStream(path, header, options=options)
            for batch in _while_unchanged(stream.batches(), drop, unchanged):
                yield batch.select(columns)
            tally = stream.tally

    return VariantLoad(
        file=DroppedVcf(
            drop.partition_key, drop.uri, row["file_hash"], row["file_size"], row["container"], header
        ),
        reference_genome=assembly,
        settings=_settings(sidecar, assembly, fasta),
        batches=batches,
        tally=lambda: tally,
        load_id=load_id,
    )


def people_of(drop: Drop, seen: pa.Table, *, opened: Opened) -> tuple[list[str], list[PedigreeEntry]]:
    """Sample names in column order, with the sidecar's one for a sites file, and the pedigree beside the file.

    Raises:
        InputError: the file changed since it was looked at, or the header, the sidecar or the pedigree cannot be
            taken.
    """
    _expect_as_seen(drop, seen)
    with opened(drop) as path:
        names = list(read_header(path, file_name=drop.uri).samples)
    sample_id = _sidecar(drop, opened).sample_id
    pedigree = _pedigree(drop, opened)
    if sample_id is not None and not names and sample_id not in {entry.individual_id for entry in pedigree}:
        pedigree.append(PedigreeEntry.of_name(sample_id))
    return names, pedigree


def genotype_reader(
    drop: Drop,
    seen: pa.Table,
    *,
    load_id: UUID,
    opened: Opened,
    unchanged: Unchanged,
    genome: Genome,
    fasta: Path | None,
) -> pa.RecordBatchReader:
    """The calls of a file, packed per variant (docs/variants.md, section 8); none for a sites file.

    Raises:
        InputError: the file changed since it was looked at; while it is read, when a record cannot be taken or the
            file changes.
    """
    import pyarrow as pa

    from genomics_assets.variants.genotypes import genotype_schema

    _expect_as_seen(drop, seen)

    def batches() -> Iterator[pa.RecordBatch]:
        with opened(drop) as path:
            stream = VariantStream(path, options=_options(drop, load_id, genome, fasta, None))
            yield from _while_unchanged(stream.genotype_batches(), drop, unchanged)

    return pa.RecordBatchReader.from_batches(genotype_schema(), batches())


def _options(
    drop: Drop, load_id: UUID, genome: Genome, fasta: Path | None, sample_id: str | None
) -> ReadOptions:
    reference: ReferenceFasta | None = None
    if fasta is not None:
        from genomics_assets.variants.alleles import ReferenceFasta

        reference = ReferenceFasta(fasta)
    return ReadOptions(load_id, genome=genome, sample_id=sample_id, reference=reference, file_name=drop.uri)


def _settings(sidecar: VcfSidecar, assembly: str, fasta: Path | None) -> dict[str, Any]:
    """What besides the bytes decides on the rows; the same bytes under other settings are another load."""
    return {
        "reader": READER_VERSION,
        "reference_genome": assembly,
        "sample_id": sidecar.sample_id,
        "fasta": None if fasta is None else _identity(fasta),
    }


def _identity(file: Path) -> str:
    """Name, size and time of a file that is too large to hash for each load."""
    found = file.stat()
    return f"{file.name} {found.st_size} {found.st_mtime_ns}"


def _sidecar(drop: Drop, opened: Opened) -> VcfSidecar:
    for uri in _sidecars(drop, ".yaml"):
        with opened(uri) as path:
            return read_vcf_sidecar(path)
    return VcfSidecar()


def _pedigree(drop: Drop, opened: Opened) -> list[PedigreeEntry]:
    for uri in _sidecars(drop, ".ped"):
        with opened(uri) as path:
            return read_pedigree(path)
    return []


def _sidecars(drop: Drop, ending: str) -> list[str]:
    return [uri for uri in drop.sidecars if uri.lower().endswith(ending)]


def _expect_as_seen(drop: Drop, seen: pa.Table) -> None:
    """Raise an `InputError` unless the drop is what `inspect_vcf` has taken: calls must not join another file's rows."""
    if seen["fingerprint"][0].as_py() != drop.fingerprint:
        raise _changed(drop)


def _while_unchanged(
    batches: Iterator[pa.RecordBatch], drop: Drop, unchanged: Unchanged
) -> Iterator[pa.RecordBatch]:
    """The batches; an `InputError` in the end, or in place of any other, where the file changed meanwhile."""
    try:
        yield from batches
    except InputError as error:
        if unchanged(drop):
            raise
        raise _changed(drop) from error
    if not unchanged(drop):
        raise _changed(drop)


def _changed(drop: Drop) -> InputError:
    return InputError(
        "the file, or a sidecar of it, changed while it was being loaded",
        remedy="nothing to do: it is taken again when it holds still",
        file=drop.uri,
    )
