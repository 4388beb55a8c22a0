"""Sources that are tables: CADD's, REVEL's, and any other with a header line and columns for the four keys.

The table is turned into VCF text, one record a row, for the variant reader to take: so its keys are made, and its bad
rows are told, as those of a VCF. Layouts: CADD (https://cadd.gs.washington.edu/download) has `## CADD …` and `#Chrom Pos
Ref Alt RawScore PHRED`, parted by tabs; REVEL (https://sites.google.com/site/revelgenomics) is parted by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genomics_assets.annotations.field_config import SourceField
from genomics_assets.input_error import InputError
from genomics_assets.variants.container import TextChunks
from genomics_assets.variants.header import VcfHeader
from genomics_assets.variants.info import FieldDefinition

if TYPE_CHECKING:
    import pyarrow as pa

_KEY_NAMES = {
    "chrom": ("chrom", "chr", "chromosome", "contig"),
    "pos": ("pos", "position", "grch38_pos"),
    "ref": ("ref", "reference", "ref_allele"),
    "alt": ("alt", "alternate", "alt_allele"),
}
_MISSING = ("", ".", "NA", "na", "NaN", "nan", "-")
_VCF_TYPES = {"integer": "Integer", "bigint": "Integer", "real": "Float", "double precision": "Float"}
_HEAD_BYTES = 1 << 16
_MOST_HEADER_LINES = 1_000
_REMEDY = "name the columns in the first line: chrom, pos, ref, alt, and those of fields.json"


class SourceTable:
    """A table of a source.

    Args:
        path: text of any container, parted by tabs or, where its header line has no tab, by commas.
        names: which column is chrom, pos, ref and alt, where that is not as usual.

    Attributes:
        columns: names in order, `#` taken off the first.
        version: the release that the comment lines tell.
        assembly: the assembly that they tell.
        without_position: rows without a position, valid once `chunks` is exhausted.

    Raises:
        InputError: there is no header line, or it lacks one of the four keys.
    """

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self._path = path
        lines = self._head()
        self.header_lines = len(lines)
        comments, line = lines[:-1], lines[-1]
        self._delimiter = "\t" if "\t" in line else ","
        self.columns = [name.strip().strip('"') for name in line.lstrip("#").split(self._delimiter)]
        told = " ".join(comments)
        release = re.search(r"(?<![\w.])v?(\d+\.\d+(?:\.\d+)?)", told)
        self.version = release[1] if release else None
        assembly = re.search(r"(?i)grch3[78]|hg19|hg38", told)
        self.assembly = _assembly(assembly[0]) if assembly else None
        self.without_position = 0
        self._keys = [self._place(key, names.get(key)) for key in _KEY_NAMES]

    def header(self, fields: Sequence[SourceField]) -> VcfHeader:
        """The header of the VCF that the table is turned into."""
        info = {f.field: FieldDefinition("1", _VCF_TYPES.get(f.type, "String")) for f in fields}
        return VcfHeader("VCFv4.2", info=info, lines=self.header_lines, assembly=self.assembly)

    def chunks(self, fields: Sequence[SourceField]) -> Iterator[bytes]:
        """The table as VCF text in chunks of whole lines, a line for each of its own.

        Raises:
            InputError: a row has another number of columns than the header line.
        """
        self.without_position = 0
        to_skip = self.header_lines
        line = 1
        for text in TextChunks(self._path):
            start = 0
            while to_skip and start < len(text):
                start = text.index(b"\n", start) + 1
                to_skip -= 1
                line += 1
                yield b"#\n"
            body = text[start:]
            if body:
                yield self._records(body, line, fields)
                line += body.count(b"\n")

    def _head(self) -> list[str]:
        lines: list[str] = []
        for text in TextChunks(self._path, _HEAD_BYTES):
            for raw in text.splitlines():
                lines.append(raw.decode("utf-8", "replace"))
                if not lines[-1].startswith("##") and lines[-1].strip():
                    return lines
                if len(lines) > _MOST_HEADER_LINES:
                    break
        raise InputError("the table has no header line", remedy=_REMEDY, file=self._path.name)

    def _place(self, key: str, name: str | None) -> int:
        lower = [column.lower() for column in self.columns]
        for candidate in ([name] if name else []) + list(_KEY_NAMES[key]):
            if candidate.lower() in lower:
                return lower.index(candidate.lower())
        raise InputError(
            f"the table has no column {name or key!r}; it has {', '.join(self.columns[:20])}",
            remedy=_REMEDY,
            file=self._path.name,
            line=self.header_lines,
        )

    def _records(self, text: bytes, first_line: int, fields: Sequence[SourceField]) -> bytes:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._parse(text, first_line)
        chrom, pos, ref, alt = (_text(table, place) for place in self._keys)
        dot = pa.scalar(".")
        info = [_member(f.field, _text(table, self.columns.index(f.field))) for f in fields]
        record = pc.binary_join_element_wise(
            chrom, pos, dot, ref, alt, dot, dot, pc.binary_join_element_wise(*info, ";"), "\t"
        )
        # An empty line gives no record, and keeps the count of lines.
        lost = pc.is_in(pos, pa.array(_MISSING))
        self.without_position += pc.sum(lost).as_py() or 0
        lines = pc.if_else(lost, "", record)
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")
        return bytes(joined[0].as_buffer()) + b"\n"

    def _parse(self, text: bytes, first_line: int) -> pa.Table:
        import pyarrow as pa
        import pyarrow.csv

        places = [str(place) for place in range(len(self.columns))]
        try:
            return pa.csv.read_csv(
                pa.BufferReader(text),
                pa.csv.ReadOptions(column_names=places, use_threads=False, block_size=len(text) + 1),
                pa.csv.ParseOptions(
                    delimiter=self._delimiter,
                    quote_char='"' if self._delimiter == "," else False,
                    ignore_empty_lines=False,
                ),
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            row = re.search(r"Row #(\d+)", str(error))
            raise InputError(
                f"a row has another number of columns than the {len(self.columns)} of the header line",
                remedy="copy the file again from its source",
                line=first_line + int(row[1]) - 1 if row else first_line,
            ) from None


def _text(table: pa.Table, place: int) -> pa.Array:
    return table.column(place).combine_chunks()


def _member(name: str, values: pa.Array) -> pa.Array:
    """`name=value`, missing ones as `.`, with the one sign that would end the value written as its code."""
    import pyarrow as pa
    import pyarrow.compute as pc

    safe = pc.replace_substring(pc.replace_substring(values, "%", "%25"), ";", "%3B")
    return pc.binary_join_element_wise(name, pc.if_else(pc.is_in(values, pa.array(_MISSING)), ".", safe), "=")


def decoded(values: pa.Array) -> pa.Array:
    """Texts as they stood in the table."""
    import pyarrow.compute as pc

    return pc.replace_substring(pc.replace_substring(values, "%3B", ";"), "%25", "%")


def _assembly(word: str) -> str:
    return "GRCh38" if word.lower() in ("grch38", "hg38") else "GRCh37"
