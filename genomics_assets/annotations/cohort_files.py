"""The files of a cohort, written batch by batch: Parquet, CSV and VCF of the same rows, in memory that stays flat.

All take record batches with the columns of `cohort.VARIANT_COLUMNS` and those of the sources, named by their labels.
The VCF is a sites file (VCF 4.3): one record a row, values percent-encoded where the format wants it, booleans as flags,
and a header that declares just the contigs and filters that occur.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genomics_assets.annotations.bgzf_writer import BgzfWriter
from genomics_assets.annotations.cohort import Format
from genomics_assets.annotations.filter_expression import VARIANTS, Column
from genomics_assets.variants.summary import Cell, LoadSummary, chromosome_order

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 64 << 20
# What a record holds in columns of its own, or what does not describe the variant.
_OUTSIDE_INFO = {"chrom", "pos", "end_pos", "rs_id", "ref", "alt", "qual", "filter"}
_TYPES = {"text": "String", "integer": "Integer", "real": "Float", "double": "Float", "boolean": "Flag"}
# VCF 4.3, section 1.2, without the colon, which parts nothing in INFO; the percent sign first.
_ENCODED = (
    ("%", "%25"), (";", "%3B"), ("=", "%3D"), (",", "%2C"), ("\t", "%09"), ("\r", "%0D"), ("\n", "%0A"),
)  # fmt: skip
_TO_ENCODE = "[%;=,\t\r\n]"
_LARGEST_VCF_INTEGER = 2**31 - 1


class CohortFile(Protocol):
    """A file that takes a cohort's rows."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take more rows."""


@contextmanager
def open_file(
    kind: Format, path: Path, schema: pa.Schema, columns: Sequence[Column], about: Sequence[tuple[str, str]]
) -> Iterator[CohortFile]:
    """A file that is complete when the block ends without an error.

    Args:
        kind: of the file.
        path: of the file, which is written anew.
        schema: of all batches.
        columns: which columns there are, by their labels; others of the schema are in Parquet and CSV alone.
        about: what the VCF's header says of the cohort, as keys and values.
    """
    writer = {"parquet": _parquet, "csv": _csv, "vcf": _vcf}[kind]
    with writer(path, schema, columns, about) as file:
        yield file


# -- Parquet and CSV ------------------------------------------------------------------------------------------------


@contextmanager
def _parquet(path: Path, schema: pa.Schema, columns: Sequence[Column], about: object) -> Iterator[CohortFile]:
    import pyarrow.parquet as pq

    described = _described(schema, columns)
    with ExitStack() as stack:
        file = _ParquetFile(
            described, stack.enter_context(pq.ParquetWriter(path, described, compression="zstd"))
        )
        yield file
        file.flush()


@dataclass
class _ParquetFile:
    """Gathers batches to row groups, because readers pay for each group."""

    schema: pa.Schema
    writer: Any
    held: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self.held.append(batch)
        self.rows += batch.num_rows
        self.size += batch.nbytes
        if self.rows >= ROW_GROUP_ROWS or self.size >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self.rows:
            batches = [batch.cast(self.schema) for batch in self.held]
            self.writer.write_table(pa.Table.from_batches(batches, self.schema), row_group_size=self.rows)
        self.held, self.rows, self.size = [], 0, 0


def _described(schema: pa.Schema, columns: Sequence[Column]) -> pa.Schema:
    """The schema with the description of each column as the field's metadata."""
    import pyarrow as pa

    told = {column.label: {"description": column.description} for column in columns if column.description}
    return pa.schema([f.with_metadata(told[f.name]) if f.name in told else f for f in schema])


@contextmanager
def _csv(path: Path, schema: pa.Schema, columns: object, about: object) -> Iterator[CohortFile]:
    import pyarrow.csv

    with pyarrow.csv.CSVWriter(path, schema) as writer:
        yield writer


# -- VCF ---------------------------------------------------------------------------------------------------------


@contextmanager
def _vcf(
    path: Path, schema: pa.Schema, columns: Sequence[Column], about: Sequence[tuple[str, str]]
) -> Iterator[CohortFile]:
    """The records go to a file of their own first, for only they tell what the header must declare."""
    with tempfile.TemporaryFile(dir=path.parent) as records:
        body = BgzfWriter(records)
        vcf = _VcfRecords(body, [c for c in columns if c.source != VARIANTS or c.name not in _OUTSIDE_INFO])
        yield vcf
        body.flush()
        records.seek(0)
        with path.open("wb") as file, BgzfWriter(file) as out:
            out.write(vcf.header(about).encode())
            out.flush()
            shutil.copyfileobj(records, file, 1 << 20)


class _VcfRecords:
    """Writes rows as records, whole columns at a time."""

    def __init__(self, out: BgzfWriter, columns: Sequence[Column]) -> None:
        self._out = out
        self._columns = columns
        self._contigs: dict[str, None] = {}
        self._filters: dict[str, None] = {}

    def write(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not batch.num_rows:
            return
        chrom, filters = batch.column("chrom").cast(pa.string()), batch.column("filter")
        self._contigs |= dict.fromkeys(chrom.unique().to_pylist())
        self._filters |= dict.fromkeys(
            name for names in filters.unique().to_pylist() if names for name in names.split(";")
        )
        lines = pc.binary_join_element_wise(
            chrom,
            batch.column("pos").cast(pa.string()),
            _or_dot(batch.column("rs_id")),
            batch.column("ref"),
            batch.column("alt"),
            _or_dot(batch.column("qual").cast(pa.string())),
            _or_dot(filters),
            self._info(batch),
            "\t",
        )
        text = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")
        self._out.write(text[0].as_buffer())
        self._out.write(b"\n")

    def header(self, about: Sequence[tuple[str, str]]) -> str:
        """The header, column line included."""
        lines = ["##fileformat=VCFv4.3", *(f"##{key}={_one_line(value)}" for key, value in about)]
        # A file may not declare PASS otherwise; VCF has it.
        lines += [f'##FILTER=<ID={name},Description="">' for name in self._filters if name != "PASS"]
        lines += [f"##contig=<ID={name}>" for name in sorted(self._contigs, key=chromosome_order)]
        lines.append('##INFO=<ID=END,Number=1,Type=Integer,Description="Last base of a symbolic allele">')
        for column in self._columns:
            number, kind = ("0" if column.kind == "boolean" else "1"), _TYPES[column.kind]
            told = column.description.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(
                f'##INFO=<ID={column.label},Number={number},Type={kind},Description="{_one_line(told)}">'
            )
        return "\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO", ""])

    def _info(self, batch: pa.RecordBatch) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        symbolic = pc.starts_with(batch.column("alt"), "<")
        ends = batch.column("end_pos").cast(pa.string())
        members = [pc.binary_join_element_wise("END", pc.if_else(symbolic, ends, None), "=")]
        members += [_member(column, batch.column(column.label)) for column in self._columns]
        info = pc.binary_join_element_wise(*members, ";", null_handling="skip")
        return pc.if_else(pc.equal(info, ""), ".", info)


def _member(column: Column, values: pa.Array) -> pa.Array:
    """`label=value`, the label alone for a flag, NULL where the record does not have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind == "boolean":
        return pc.if_else(values, pa.scalar(column.label), None)
    if column.kind == "integer":
        # VCF's integers have 32 bits; a larger one would be refused, so it is left out.
        inside = pc.less_equal(pc.abs(values.cast(pa.int64())), _LARGEST_VCF_INTEGER)
        values = pc.if_else(inside, values, None)
    texts = values.cast(pa.string())
    if column.kind == "text":
        texts = _encoded(pc.if_else(pc.equal(texts, ""), None, texts))
    return pc.binary_join_element_wise(column.label, texts, "=")


def _encoded(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring_regex(texts, _TO_ENCODE)).as_py():
        return texts
    for sign, code in _ENCODED:
        texts = pc.replace_substring(texts, sign, code)
    return texts


def _or_dot(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.coalesce(pc.if_else(pc.equal(texts, ""), None, texts), ".")


def _one_line(text: str) -> str:
    return " ".join(text.split())


# -- what passed ---------------------------------------------------------------------------------------------------


@dataclass
class CohortTally:
    """A cohort in numbers: counted batch by batch.

    Attributes:
        rows: variants.
        summary: by chromosome and type, for the picture.
        first: the first few rows, for a preview.
    """

    rows: int = 0
    summary: LoadSummary = field(default_factory=LoadSummary)
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, *, shown: int = 5) -> None:
        """Count the rows of a batch."""
        import pyarrow as pa

        if len(self.first) < shown:
            self.first += batch.slice(0, shown - len(self.first)).to_pylist()
        self.rows += batch.num_rows
        keys = pa.table({name: batch.column(name).cast(pa.string()) for name in ("chrom", "variant_type")})
        for row in (
            keys.group_by(keys.column_names, use_threads=False).aggregate([([], "count_all")]).to_pylist()
        ):
            cell = self.summary.cells.setdefault((row["chrom"], row["variant_type"] or "unknown"), Cell())
            cell.variants += row["count_all"]
