"""The records of a source as Arrow record batches: keys as the warehouse makes them, and typed columns.

The variant reader itself reads them (docs/variants.md), so alleles are split, trimmed and left-aligned, and contigs are
named, exactly as those of a dropped VCF. A table is handed to it as if it were a VCF whose INFO keys are the columns.
Memory stays near one chunk of text.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.ahead import made_ahead
from genomics_assets.annotations.field_config import SourceField, resolve
from genomics_assets.annotations.source_files import SourceFolder, version_in_name
from genomics_assets.annotations.source_table import SourceTable, decoded
from genomics_assets.input_error import InputError
from genomics_assets.variants.info import finite_float
from genomics_assets.variants.reader import ReadOptions, VariantStream, read_header
from genomics_assets.variants.record import Genome

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.variants.alleles import ReferenceFasta
    from genomics_assets.variants.header import VcfHeader

# A B-tree entry ends at 2,704 bytes; a key is at most this long, contig and both alleles together.
LONGEST_KEY = 2_500

REJECTED = {
    "no_alternate_allele": "record without an ALT allele",
    "position_outside_contig": "position before the first or beyond the last base of its contig",
    "no_exact_allele": "symbolic, `*` or named ALT: it does not say which bases, so nothing can be looked up by it",
    "allele_longer_than_key": f"contig and alleles of over {LONGEST_KEY:,} bytes, longer than an index entry",
    "no_position": "row of a table without a position in this assembly",
    "duplicate_key": "another record of the source has the same alleles: the first in file order counts",
}
VALUE_OF_ANOTHER_TYPE = "value_of_another_type"

# Records are read in one thread and typed in another.
_BATCHES_AHEAD = 2
_INEXACT = ("sv", "star", "non_ref")
# How far back, beyond its own batch, a row is compared with those before it.
_ROWS_LOOKED_BACK = 500
# RefSeq's names of human chromosomes, any version: dbSNP is written with them.
_REFSEQ = re.compile(r"NC_0000(0[1-9]|1[0-9]|2[0-4])\.\d+|NC_012920\.\d+")
_ARROW_TYPES = {
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double precision": "float64",
    "text": "string",
    "boolean": "bool_",
}
_INT_LIMITS = {"integer": 2**31, "bigint": 2**63}


_Key = tuple[str, int, str, str]


@dataclass
class SourceTally:
    """What was read of a source; whole once its batches are exhausted.

    Attributes:
        alleles: ALT alleles and rejected records.
        rows: rows given; duplicates that are far apart in the file are found later, by the table's key.
        rejected: what gave no row, by reason.
        noted: what was tolerated, by reason.
        present: rows with a value of their own, by column.
    """

    alleles: int = 0
    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str, count: int) -> None:
        """Count rows or records that are not given."""
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count

    def note(self, reason: str, count: int) -> None:
        """Count something that was tolerated."""
        if count:
            self.noted[reason] = self.noted.get(reason, 0) + count


@dataclass(frozen=True)
class SourceHead:
    """What a source's files say of themselves.

    Attributes:
        version: at most 50 characters.
        assembly: GRCh38, GRCh37, T2T-CHM13, or None where nothing tells.
        fields: its columns.
    """

    version: str | None
    assembly: str | None
    fields: tuple[SourceField, ...]


def read_head(folder: SourceFolder) -> SourceHead:
    """Read headers, and settle which columns the source has.

    Raises:
        InputError: a header cannot be taken, a field is not there, or two files of a set differ.
    """
    heads = [_head_of(folder, path) for path in folder.data]
    first = heads[0]
    for path, head in zip(folder.data[1:], heads[1:], strict=True):
        if [(f.alias, f.type) for f in head.fields] != [(f.alias, f.type) for f in first.fields]:
            raise InputError(
                f"it has other fields than {folder.data[0].name}",
                remedy="drop files of one release, all with the same header",
                file=path.name,
            )
        if head.assembly != first.assembly:
            raise InputError(
                f"it is of assembly {head.assembly or 'unknown'}, {folder.data[0].name} of {first.assembly or 'unknown'}",
                remedy="drop files of one assembly",
                file=path.name,
            )
    version = folder.sidecar.version or first.version
    return SourceHead(None if version is None else version[:50], first.assembly, first.fields)


def _head_of(folder: SourceFolder, path: Path) -> SourceHead:
    try:
        if folder.is_table:
            table = SourceTable(path, folder.ready.columns if folder.ready else {})
            declared = dict.fromkeys(table.columns, ("1", "String", ""))
            fields = resolve(folder.fields, declared, optional=folder.optional_fields, what="column")
            return SourceHead(table.version or version_in_name(path.name), table.assembly, fields)
        header = read_header(path)
        declared = {name: (d.number, d.type, d.description) for name, d in header.info.items()}
        fields = resolve(folder.fields, declared, optional=folder.optional_fields)
        return SourceHead(_version(header, path), header.assembly, fields)
    except InputError as error:
        raise error if error.file else error.in_file(path.name) from error.__cause__


def _version(header: VcfHeader, path: Path) -> str | None:
    if isinstance(header.clinvar_date, datetime.date):
        return header.clinvar_date.isoformat()
    return version_in_name(path.name) or header.tools.get("gnomAD") or header.tools.get("dbSNP")


class SourceStream:
    """The rows of a source's version, file after file.

    Args:
        folder: its files.
        fields: its columns, from `read_head`.
        genome: `human` gives chromosomes their canonical names.
        reference: where given, indels are left-aligned against it.
        engine: as for `VariantStream`.

    Attributes:
        tally: what was read; whole once `batches` is exhausted.
    """

    def __init__(
        self,
        folder: SourceFolder,
        fields: Sequence[SourceField],
        *,
        genome: Genome = "human",
        reference: ReferenceFasta | None = None,
        engine: Any = "auto",
    ) -> None:
        self._folder = folder
        self._fields = tuple(fields)
        self._genome = genome
        self._reference = reference
        self._engine = engine
        self._table: SourceTable | None = None
        self._lately: set[_Key] = set()
        self.tally = SourceTally()

    @property
    def schema(self) -> pa.Schema:
        """chrom, pos, ref, alt, and the fields by alias."""
        return source_schema(self._fields)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows in file order; every call reads the files anew.

        Raises:
            InputError: a record or a container cannot be taken; with file and line.
        """
        self.tally = SourceTally(present=dict.fromkeys((f.alias for f in self._fields), 0))
        self._lately = set()
        for path in self._folder.data:
            stream = self._stream(path)
            with made_ahead(stream.batches(), _BATCHES_AHEAD) as batches:
                for batch in batches:
                    rows = self._rows(batch)
                    if rows.num_rows:
                        yield rows
            self._add(stream)

    def _stream(self, path: Path) -> VariantStream:
        keys = frozenset(f.field for f in self._fields if f.origin == "info")
        options = ReadOptions(
            uuid.UUID(int=0),
            genome=self._genome,
            reference=self._reference,
            engine=self._engine,
            genotypes=False,
            info_keys=keys,
        )
        if not self._folder.is_table:
            return VariantStream(path, options=options)
        table = SourceTable(path, self._folder.ready.columns if self._folder.ready else {})
        self._table = table
        header = table.header(self._fields)
        return VariantStream(path, header, options=options, chunks=lambda: table.chunks(self._fields))

    def _add(self, stream: VariantStream) -> None:
        self.tally.alleles += stream.tally.alleles
        for reason, count in stream.tally.skipped.items():
            self.tally.reject(reason, count)
        for reason, count in stream.tally.noted.items():
            # A table declares no contigs.
            if not (self._table is not None and reason == "undeclared_contig"):
                self.tally.note(reason, count)
        if self._table is not None:
            self.tally.alleles += self._table.without_position
            self.tally.reject("no_position", self._table.without_position)

    def _rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        batch = self._with_keys(batch)
        batch = self._without_repeats(batch)
        columns = [self._chromosomes(batch), *(batch.column(name) for name in ("pos", "ref", "alt"))]
        columns += self._values(batch)
        self.tally.rows += batch.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _with_keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Without rows that nothing could be looked up by."""
        import pyarrow as pa
        import pyarrow.compute as pc

        inexact = pc.is_in(batch.column("variant_type"), pa.array(_INEXACT))
        length = pc.add(
            pc.add(pc.binary_length(batch.column("ref")), pc.binary_length(batch.column("alt"))),
            pc.binary_length(batch.column("chrom")),
        )
        long = pc.and_(pc.greater(length, LONGEST_KEY), pc.invert(inexact))
        self.tally.reject("no_exact_allele", pc.sum(inexact).as_py() or 0)
        self.tally.reject("allele_longer_than_key", pc.sum(long).as_py() or 0)
        refused = pc.or_(inexact, long)
        return batch.filter(pc.invert(refused)) if pc.any(refused).as_py() else batch

    def _without_repeats(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Without rows whose alleles stood shortly before, as they do in a sorted file; the first counts."""
        import numpy as np
        import pyarrow as pa

        positions = batch.column("pos").to_numpy()
        values, counts = np.unique(positions, return_counts=True)
        shared = [*values[counts > 1], *{key[1] for key in self._lately}]
        candidates = np.flatnonzero(np.isin(positions, np.array(shared, np.int64)))
        seen, repeats = self._lately, []
        for row, key in zip(candidates.tolist(), _keys(batch.take(pa.array(candidates))), strict=True):
            if key in seen:
                repeats.append(row)
            seen.add(key)
        self._lately = set(_keys(batch.slice(max(0, batch.num_rows - _ROWS_LOOKED_BACK))))
        self.tally.reject("duplicate_key", len(repeats))
        if not repeats:
            return batch
        kept = np.ones(batch.num_rows, bool)
        kept[repeats] = False
        return batch.filter(pa.array(kept))

    def _chromosomes(self, batch: pa.RecordBatch) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        names = batch.column("chrom")
        if self._genome != "human" or not pc.any(pc.starts_with(names, "NC_0")).as_py():
            return names
        encoded = names.dictionary_encode()
        renamed = pa.array([_of_refseq(name) for name in encoded.dictionary.to_pylist()], pa.string())
        return renamed.take(encoded.indices)

    def _values(self, batch: pa.RecordBatch) -> list[pa.Array]:
        import pyarrow as pa

        of_info = [f for f in self._fields if f.origin == "info"]
        values = read_values(batch.column("info"), of_info, self._note_value)
        columns = []
        for f in self._fields:
            column = values[f.alias] if f.origin == "info" else _fixed(batch, f)
            if self._folder.is_table and f.type == "text":
                column = decoded(column)
            self.tally.present[f.alias] += len(column) - column.null_count
            if f.missing is not None and column.null_count:
                column = column.fill_null(pa.scalar(f.missing, column.type))
            columns.append(column)
        return columns

    def _note_value(self, count: int) -> None:
        self.tally.note(VALUE_OF_ANOTHER_TYPE, count)


def _keys(batch: pa.RecordBatch) -> Iterator[_Key]:
    return zip(*(batch.column(name).to_pylist() for name in ("chrom", "pos", "ref", "alt")), strict=True)


def source_schema(fields: Sequence[SourceField]) -> pa.Schema:
    """The Arrow schema of a source's rows."""
    import pyarrow as pa

    keys = [
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("pos", pa.int64(), nullable=False),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("alt", pa.string(), nullable=False),
    ]
    return pa.schema([*keys, *(pa.field(f.alias, arrow_type(f)) for f in fields)])


def arrow_type(f: SourceField) -> pa.DataType:
    """The Arrow type of a field's column."""
    import pyarrow as pa

    return getattr(pa, _ARROW_TYPES[f.type])()


def _of_refseq(name: str) -> str:
    found = _REFSEQ.fullmatch(name)
    if found is None:
        return name
    number = found[1]
    if number is None:
        return "chrM"
    return {"23": "chrX", "24": "chrY"}.get(number, f"chr{int(number)}")


def _fixed(batch: pa.RecordBatch, f: SourceField) -> pa.Array:
    """ID, QUAL or FILTER."""
    import pyarrow.compute as pc

    if f.origin == "id":
        return batch.column("rs_id")
    if f.origin == "qual":
        return batch.column("qual").cast(arrow_type(f))
    return pc.binary_join(batch.column("filter"), ";")


# -- values ------------------------------------------------------------------------------------------------------


def read_values(
    info: pa.Array, fields: Sequence[SourceField], note: Callable[[int], None]
) -> dict[str, pa.Array]:
    """The columns of fields from INFO as typed JSON (docs/variants.md, section 5), by alias.

    Of a Number=A field a row has the value of its allele, of Number=R its allele's and not REF's; lists of any other
    length are text, or a number where they hold just one.

    Args:
        info: one JSON object a row.
        fields: what is wanted.
        note: is told how many values are of another type than their column; those are NULL.
    """
    import pyarrow as pa

    if not fields:
        return {}
    try:
        return _vectorised(info, fields)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return _one_by_one(info, fields, note)


def _vectorised(info: pa.Array, fields: Sequence[SourceField]) -> dict[str, pa.Array]:
    """All rows at once; raises where a value is of another kind than the header declares."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json

    text = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(info)], pa.int32()), info), "\n")[0]
    content = text.as_buffer()
    schema = pa.schema({f.field: _json_type(f) for f in fields})
    table = pa.json.read_json(
        pa.BufferReader(content),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=content.size + 1),
        parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    return {f.alias: _column(table.column(f.field).combine_chunks(), f) for f in fields}


def _json_type(f: SourceField) -> pa.DataType:
    import pyarrow as pa

    if f.declared == "Flag" or f.number == "0":
        return pa.bool_()
    scalar = {"Integer": pa.int64(), "Float": pa.float64()}.get(f.declared, pa.string())
    numeric = f.declared in ("Integer", "Float")
    if numeric == (f.type in ("text", "boolean")):
        raise pa.ArrowInvalid("a column of another kind than the header's")
    return scalar if f.number in ("1", "A") else pa.list_(scalar)


def _column(values: pa.Array, f: SourceField) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(values.type):
        if f.type != "boolean":
            raise pa.ArrowInvalid("a flag in a column of another kind")
        return values.fill_null(False)
    if pa.types.is_list(values.type):
        values = _of_list(values, f)
    if pa.types.is_floating(values.type):
        if f.type in ("integer", "bigint"):
            raise pa.ArrowInvalid("fractions in a column of whole numbers")
        cast = values.cast(arrow_type(f), safe=False)
        if not pc.all(pc.is_finite(cast)).as_py() and len(cast) > cast.null_count:
            raise pa.ArrowInvalid("a number beyond its column")
        return cast
    if pa.types.is_string(values.type) and f.type == "text":
        return values
    # int64 to a float loses digits beyond 2^24, which is what the column is.
    return values.cast(arrow_type(f), safe=f.type in ("integer", "bigint"))


def _of_list(values: pa.Array, f: SourceField) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(values)
    if f.number == "R":
        if len(values) > values.null_count and pc.min_max(lengths) != {"min": 2, "max": 2}:
            raise pa.ArrowInvalid("a list of another length than REF and ALT")
        return (
            pc.list_element(values, 1)
            if values.null_count < len(values)
            else pa.nulls(len(values), values.type.value_type)
        )
    if f.type != "text":
        if len(values) > values.null_count and pc.min_max(lengths) != {"min": 1, "max": 1}:
            raise pa.ArrowInvalid("a list in a column of single values")
        return (
            pc.list_element(values, 0)
            if values.null_count < len(values)
            else pa.nulls(len(values), values.type.value_type)
        )
    whole = pa.ListArray.from_arrays(values.offsets, values.values.fill_null("."), mask=values.is_null())
    joined = pc.binary_join(whole, ",")
    return pc.if_else(pc.equal(joined, "."), pa.scalar(None, pa.string()), joined)


def _one_by_one(
    info: pa.Array, fields: Sequence[SourceField], note: Callable[[int], None]
) -> dict[str, pa.Array]:
    """The same, row by row, for batches with values that are not of their type."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {f.alias: [] for f in fields}
    strange = 0
    for text in info.to_pylist():
        row: Mapping[str, Any] = json.loads(text, parse_float=str, parse_int=str)
        for f in fields:
            value, fits = convert(row.get(f.field), f)
            strange += not fits
            columns[f.alias].append(value)
    note(strange)
    return {f.alias: pa.array(columns[f.alias], arrow_type(f)) for f in fields}


def convert(value: Any, f: SourceField) -> tuple[Any, bool]:
    """A JSON value, numbers as text, as a value of the field's column; and whether it is of its type.

    >>> convert(["0.1", "0.2"], SourceField("AF", "af", "real", number="R"))
    (0.2, True)
    >>> convert("high", SourceField("AF", "af", "real"))
    (None, False)
    """
    if f.type == "boolean":
        return _boolean(value, f)
    if isinstance(value, list):
        if f.number == "R" and len(value) == 2:
            value = value[1]
        elif f.type == "text":
            joined = ",".join("." if item is None else str(item) for item in value)
            return (None if joined == "." else joined), True
        elif len(value) == 1:
            value = value[0]
        else:
            return None, False
    if value is None:
        return None, True
    if f.type == "text":
        return ("true" if value is True else str(value)), True
    if isinstance(value, bool):
        return None, False
    if f.type in _INT_LIMITS:
        return _whole(value, _INT_LIMITS[f.type])
    number = finite_float(str(value))
    return number, number is not None


def _boolean(value: Any, f: SourceField) -> tuple[bool | None, bool]:
    if value is None:
        return (False if f.declared == "Flag" or f.number == "0" else None), True
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = words.get(str(value).lower())
    return found, found is not None


def _whole(value: str, limit: int) -> tuple[int | None, bool]:
    text = str(value)
    if re.fullmatch(r"[+-]?\d{1,19}(\.0*)?", text) is None:
        return None, False
    number = int(text.partition(".")[0])
    return (number, True) if -limit <= number < limit else (None, False)
