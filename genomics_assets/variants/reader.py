"""A VCF or BCF file becomes a stream of Arrow record batches.

Two engines give the same rows: `python` is `record.py` for every line; `native` is the scanner in C for the
lines that it takes and `record.py` for those that it hands back, in file order. What is the same in all
rows, and what follows from counts of calls, is added here for both.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from genomics_assets.input_error import InputError
from genomics_assets.variants.consequence import CODING, LOSS_OF_FUNCTION, SEVERITY
from genomics_assets.variants.container import TextChunks
from genomics_assets.variants.header import VcfHeader, parse_header
from genomics_assets.variants.record import (
    Genome,
    GenotypeRow,
    RecordParser,
    Tally,
    VariantRow,
)

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from genomics_assets.variants.alleles import ReferenceFasta

__all__ = ["Engine", "ReadOptions", "Tally", "VariantStream", "native_scanner", "read_header"]

Engine = Literal["auto", "native", "python"]
_HEADER_CHUNK = 1 << 16
_EXAMPLES = 5


@dataclass(frozen=True)
class ReadOptions:
    """What besides the file's bytes decides on its rows.

    Attributes:
        load_batch_id: the load that the rows belong to.
        genome: `human` gives chromosomes their canonical names, `other` keeps every name.
        sample_id: the sample that a sites file belongs to; None takes the one sample of a single-sample file.
        reference: where given, indels are left-aligned against it.
        engine: `auto` is native where it is built, unless GENOMICS_NATIVE=0.
        genotypes: whether genotypes are counted.
        file_name: the file's name as it was dropped, for errors; None takes that of the path.
        info_keys: the declared INFO keys that are read, all others are passed over; None reads every key.
    """

    load_batch_id: UUID
    genome: Genome = "human"
    sample_id: str | None = None
    reference: ReferenceFasta | None = None
    engine: Engine = "auto"
    genotypes: bool = True
    file_name: str | None = None
    info_keys: frozenset[str] | None = None


class _Lines(NamedTuple):
    """A chunk of whole record lines, and the number of its first one."""

    text: bytes
    first_line: int


def read_header(path: Path, *, file_name: str | None = None) -> VcfHeader:
    """Read the header of a VCF or BCF in any container.

    Args:
        path: the file.
        file_name: its name as it was dropped, for errors; None takes that of the path.

    Raises:
        InputError: the file is no VCF, or its header breaks a rule of docs/variants.md, section 9.
    """
    try:
        return parse_header(_lines(TextChunks(path, _HEADER_CHUNK)))
    except InputError as error:
        raise error.in_file(file_name or path.name) from error.__cause__


def native_scanner() -> ModuleType | None:
    """The native scanner's module; None where it is not built."""
    try:
        return importlib.import_module("genomics_assets.variants._text_scanner")
    except ImportError:
        return None


class VariantStream:
    """The rows of one file.

    Args:
        path: VCF or BCF in any container.
        header: the file's header where it is known already.
        options: what else decides on the rows.
        chunks: gives the text as chunks of whole lines, header included, where it is not that of the file.

    Attributes:
        header: the file's header.
        engine: the engine that is used, `native` or `python`.
        tally: what was read; whole once `batches` is exhausted.

    Raises:
        InputError: the file or its header cannot be taken.
        RuntimeError: the native engine is asked for and not built.
    """

    def __init__(
        self,
        path: Path,
        header: VcfHeader | None = None,
        *,
        options: ReadOptions,
        chunks: Callable[[], Iterable[bytes]] | None = None,
    ) -> None:
        self._path = path
        self._options = options
        self._chunks = chunks or (lambda: TextChunks(path))
        self._file_name = options.file_name or path.name
        header = read_header(path, file_name=self._file_name) if header is None else header
        self.header = _with_info_of(header, options.info_keys)
        self._scanner_module = _scanner_for(options.engine, self.header)
        self.engine: Literal["native", "python"] = "python" if self._scanner_module is None else "native"
        self.tally = Tally()

    @property
    def schema(self) -> pa.Schema:
        """`schema.VARIANTS`."""
        from genomics_assets.variants.schema import VARIANTS

        return VARIANTS

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows in file order, a batch for about each MiB of text; every call reads the file anew.

        Raises:
            InputError: a record breaks a rule of docs/variants.md, section 9, or the container is damaged;
                with file and line.
        """
        self.tally = Tally()
        parser = self._parser(self.tally)
        scanner = self._scanner()
        chunks = self._chunks()
        try:
            for lines in self._record_lines(chunks):
                columns = self._read(scanner, parser, lines)
                if len(columns["pos"]):
                    yield self._finish(columns)
        except InputError as error:
            raise error.in_file(self._file_name) from error.__cause__
        self.tally.content_hash = getattr(chunks, "content_hash", "")

    def genotype_batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of the genotype store in file order (docs/variants.md, section 8); reads the file anew.

        Gives nothing for a file without samples. Schema: `genotypes.genotype_schema()`.

        Raises:
            InputError: as `batches`.
        """
        if not self.header.samples:
            return
        parser = self._parser(Tally())
        scanner = self._scanner()
        try:
            for lines in self._record_lines(TextChunks(self._path)):
                if scanner is None:
                    rows = [
                        row
                        for number, line in enumerate(lines.text.split(b"\n"), lines.first_line)
                        for row in parser.parse_genotypes(line, number)
                    ]
                    batch = self._genotype_batch(rows)
                else:
                    batch = self._scan_genotypes(scanner, parser, lines)
                if batch.num_rows:
                    yield batch
        except InputError as error:
            raise error.in_file(self._file_name) from error.__cause__

    # -- lines -----------------------------------------------------------------------------------------------

    def _record_lines(self, chunks: Iterable[bytes]) -> Iterator[_Lines]:
        """Chunks of record lines; the header's lines are left out, and the counting of lines goes on."""
        to_skip = self.header.lines
        line = 1
        for text in chunks:
            start = 0
            while to_skip and start < len(text):
                start = text.index(b"\n", start) + 1
                to_skip -= 1
                line += 1
            if start:
                text = text[start:]
            if text:
                yield _Lines(text, line)
                line += text.count(b"\n")

    def _parser(self, tally: Tally) -> RecordParser:
        return RecordParser(
            self.header,
            genome=self._options.genome,
            reference=self._options.reference,
            with_genotypes=self._options.genotypes,
            declared_info_only=self._options.info_keys is not None,
            tally=tally,
        )

    def _read(self, scanner: Any, parser: RecordParser, lines: _Lines) -> dict[str, pa.Array]:
        if scanner is None:
            return _rows_to_columns(_parse(parser, lines))
        return self._scan(scanner, parser, lines)

    # -- the native engine -----------------------------------------------------------------------------------

    def _scanner(self) -> Any:
        return None if self._scanner_module is None else self._scanner_module.Scanner(self._plan())

    def _plan(self) -> dict[str, Any]:
        """What the native scanner needs to know of the header and the options."""
        header = self.header
        return {
            "genome_human": self._options.genome == "human",
            "n_samples": len(header.samples),
            "info": {
                name.encode(): (definition.number.encode(), definition.type.encode())
                for name, definition in header.info.items()
            },
            "annotation": {
                tag.encode(): [name.encode() for name in fields] for tag, fields in header.annotations.items()
            },
            "filters": {name.encode() for name in header.filters} | {b"PASS"},
            "contigs": {
                name.encode(): -1 if length is None else length for name, length in header.contigs.items()
            },
            "sample_id": None,
            "left_align": self._options.reference is not None,
            "severity": {term.encode(): (rank, impact.encode()) for term, (rank, impact) in SEVERITY.items()},
            "coding": {term.encode() for term in CODING},
            "lof": {term.encode() for term in LOSS_OF_FUNCTION},
            "genotypes": self._options.genotypes and bool(header.samples),
            "declared_info_only": self._options.info_keys is not None,
        }

    def _scan(self, scanner: Any, parser: RecordParser, lines: _Lines) -> dict[str, pa.Array]:
        from genomics_assets.variants.schema import PARSED

        scanned = scanner.scan(lines.text)
        before = {reason: list(found) for reason, found in self.tally.examples.items()}
        self._count_scanned(scanned)
        native = {
            field.name: _from_buffers(field.type, scanned["columns"], field.name, scanned["rows"])
            for field in PARSED
        }
        declined = scanned["declined"]
        columns = native
        if declined:
            handed_back = [
                parser.parse(lines.text[start:end], lines.first_line + line)
                for _, start, end, line in declined
            ]
            order = _interleave(
                scanned["rows"], [place for place, *_ in declined], [len(r) for r in handed_back]
            )
            columns = _merge(native, _rows_to_columns([row for rows in handed_back for row in rows]), order)
        self._merge_examples(scanned["examples"], before, lines.first_line)
        return columns

    def _count_scanned(self, scanned: dict[str, Any]) -> None:
        tally = self.tally
        skipped = {reason.decode(): count for reason, count in scanned["skipped"].items() if count}
        tally.records += scanned["records"]
        tally.loaded += scanned["rows"]
        tally.alleles += scanned["rows"] + sum(skipped.values())
        for reason, count in skipped.items():
            tally.skipped[reason] = tally.skipped.get(reason, 0) + count
        for reason, count in scanned["tally"].items():
            if count:
                tally.noted[reason.decode()] = tally.noted.get(reason.decode(), 0) + count

    def _merge_examples(
        self, scanned: dict[bytes, list[int]], before: dict[str, list[int]], first_line: int
    ) -> None:
        """Put the scanner's first lines of each reason among those of the lines that it handed back.

        Args:
            scanned: for each reason line indices within the chunk.
            before: the examples of earlier chunks.
            first_line: number of the chunk's first line.
        """
        for key, indices in scanned.items():
            reason = key.decode()
            earlier = before.get(reason, [])
            here = {first_line + index for index in indices} | {*self.tally.examples.get(reason, [])}
            self.tally.examples[reason] = [*earlier, *sorted(here - {*earlier})][:_EXAMPLES]

    def _scan_genotypes(self, scanner: Any, parser: RecordParser, lines: _Lines) -> pa.RecordBatch:
        import pyarrow as pa

        from genomics_assets.variants.genotypes import genotype_schema

        scanned = scanner.genotypes(lines.text)
        samples = len(self.header.samples)
        widths = {"gt": samples, "dp": 2 * samples, "gq": samples}
        rows = scanned["rows"]
        arrays = {
            field.name: _from_buffers(
                field.type, scanned["columns"], field.name, rows, widths.get(field.name)
            )
            for field in genotype_schema()
            if field.name != "load_batch_id"
        }
        arrays["load_batch_id"] = self._batch_ids(rows)
        native = pa.RecordBatch.from_arrays(
            [arrays[name] for name in genotype_schema().names], schema=genotype_schema()
        )
        declined = scanned["declined"]
        if not declined:
            return native
        handed_back = [
            parser.parse_genotypes(lines.text[start:end], lines.first_line + line)
            for _, start, end, line in declined
        ]
        order = _interleave(rows, [place for place, *_ in declined], [len(r) for r in handed_back])
        python = self._genotype_batch([row for rows in handed_back for row in rows])
        merged = _merge(
            dict(zip(native.schema.names, native.columns, strict=True)),
            dict(zip(python.schema.names, python.columns, strict=True)),
            order,
        )
        return pa.RecordBatch.from_arrays(list(merged.values()), schema=genotype_schema())

    # -- what both engines share -----------------------------------------------------------------------------

    def _finish(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        """The stream's batch from an engine's columns."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = len(columns["pos"])
        upper = pc.add(columns["end_pos"], 1)
        added = {
            "pos_range": pa.StructArray.from_arrays([columns["pos"], upper], names=["lower", "upper"]),
            "sample_id": self._sample_ids(rows),
            "load_batch_id": self._batch_ids(rows),
            **_call_statistics(columns, len(self.header.samples)),
        }
        arrays = [added[name] if name in added else columns[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _sample_ids(self, rows: int) -> pa.Array:
        import pyarrow as pa

        name = self._options.sample_id
        if name is None and len(self.header.samples) == 1:
            name = self.header.samples[0]
        return pa.nulls(rows, pa.string()) if name is None else pa.repeat(pa.scalar(name), rows)

    def _batch_ids(self, rows: int) -> pa.Array:
        import pyarrow as pa

        content = pa.py_buffer(self._options.load_batch_id.bytes * rows)
        return pa.Array.from_buffers(pa.binary(16), rows, [None, content])

    def _genotype_batch(self, rows: list[GenotypeRow]) -> pa.RecordBatch:
        import pyarrow as pa

        from genomics_assets.variants.genotypes import genotype_schema

        schema = genotype_schema()
        values = zip(*rows, strict=True) if rows else ((),) * len(GenotypeRow._fields)
        arrays = {
            name: pa.array(column, schema.field(name).type)
            for name, column in zip(GenotypeRow._fields, values, strict=True)
        }
        arrays["load_batch_id"] = self._batch_ids(len(rows))
        return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _with_info_of(header: VcfHeader, keys: frozenset[str] | None) -> VcfHeader:
    """The header with these INFO definitions alone, for a reader of nothing else."""
    if keys is None:
        return header
    kept = {name: definition for name, definition in header.info.items() if name in keys}
    return replace(header, info=kept, annotations={})


def _scanner_for(engine: Engine, header: VcfHeader) -> ModuleType | None:
    if engine == "python" or (engine == "auto" and os.environ.get("GENOMICS_NATIVE") == "0"):
        return None
    if "EFF" in header.annotations:
        # The old key is too rare to be scanned natively.
        return None
    module = native_scanner()
    if module is None and engine == "native":
        raise RuntimeError(
            "the native VCF scanner is not built: run `pip install -e .` where a C compiler is, "
            "or use the engine `python`"
        )
    return module


def _lines(chunks: TextChunks) -> Iterator[bytes]:
    for chunk in chunks:
        yield from chunk.removesuffix(b"\n").split(b"\n")


def _parse(parser: RecordParser, lines: _Lines) -> list[VariantRow]:
    rows: list[VariantRow] = []
    for number, line in enumerate(lines.text.split(b"\n"), lines.first_line):
        rows += parser.parse(line, number)
    return rows


def _rows_to_columns(rows: list[VariantRow]) -> dict[str, pa.Array]:
    import pyarrow as pa

    from genomics_assets.variants.schema import PARSED

    columns = dict(zip(VariantRow._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    return {field.name: pa.array(columns.get(field.name, ()), field.type) for field in PARSED}


def _from_buffers(
    of_type: pa.DataType, columns: dict[str, Any], name: str, rows: int, width: int | None = None
) -> pa.Array:
    """An Arrow array on the scanner's own buffers; `width` is that of a column of equally long values."""
    import pyarrow as pa

    if name not in columns:
        return pa.nulls(rows, of_type)
    validity, offsets, data = (None if part is None else pa.py_buffer(part) for part in columns[name])
    if pa.types.is_list(of_type):
        _, *parts = columns[f"{name}.item"]
        item_offsets, item_data = (pa.py_buffer(part) for part in parts)
        items = pa.Array.from_buffers(
            of_type.value_type, item_offsets.size // 4 - 1, [None, item_offsets, item_data]
        )
        return pa.Array.from_buffers(of_type, rows, [validity, offsets], children=[items])
    if width is not None and offsets is None:
        fixed = pa.Array.from_buffers(pa.binary(width), rows, [validity, data])
        return fixed.cast(of_type)
    if pa.types.is_string(of_type) or pa.types.is_binary(of_type):
        return pa.Array.from_buffers(of_type, rows, [validity, offsets, data])
    return pa.Array.from_buffers(of_type, rows, [validity, data])


def _interleave(native_rows: int, places: list[int], counts: list[int]) -> npt.NDArray[np.int64]:
    """File order of rows when those that were handed back stand behind the native ones.

    Args:
        native_rows: how many rows the scanner gave.
        places: for each line that was handed back, how many native rows stand before it; ascending.
        counts: how many rows each of those lines gave.
    """
    import numpy as np

    ends = np.cumsum(counts)
    pieces = []
    done = 0
    for place, count, end in zip(places, counts, ends.tolist(), strict=True):
        pieces += [np.arange(done, place), np.arange(native_rows + end - count, native_rows + end)]
        done = place
    pieces.append(np.arange(done, native_rows))
    return np.concatenate(pieces)


def _merge(
    native: dict[str, pa.Array], python: dict[str, pa.Array], order: npt.NDArray[np.int64]
) -> dict[str, pa.Array]:
    import pyarrow as pa

    indices = pa.array(order)
    return {name: pa.concat_arrays([native[name], python[name]]).take(indices) for name in native}


def _call_statistics(columns: dict[str, pa.Array], samples: int) -> dict[str, pa.Array]:
    """call_rate, n_het, n_hom_alt, aaf and hwe_p from counts of calls."""
    import numpy as np
    import pyarrow as pa

    from genomics_assets.variants.hardy_weinberg import exact_p

    rows = len(columns["pos"])
    called = columns["gt_called"]
    if called.null_count == rows:
        ratios: dict[str, pa.DataType] = dict.fromkeys(("call_rate", "aaf", "hwe_p"), pa.float32())
        return {
            name: pa.nulls(rows, of_type)
            for name, of_type in {**ratios, "n_het": pa.int32(), "n_hom_alt": pa.int32()}.items()
        }
    count = {
        name: columns[name].fill_null(0).to_numpy(zero_copy_only=False)
        for name in columns
        if name[:3] == "gt_"
    }
    unknown = called.is_null().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        frequency = count["gt_alt"] / count["gt_alleles"]
    hwe = exact_p(count["gt_d_het"], count["gt_d_hom"], count["gt_d_other"])
    return {
        "call_rate": pa.array((count["gt_called"] / samples).astype(np.float32), mask=unknown),
        "n_het": columns["gt_het"],
        "n_hom_alt": columns["gt_hom"],
        "aaf": pa.array(frequency.astype(np.float32), mask=unknown | np.isnan(frequency)),
        "hwe_p": pa.array(hwe.astype(np.float32), mask=unknown | np.isnan(hwe)),
    }
