"""Small VCFs for tests, and what the reading engine makes of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genomics_assets.variants.reader import ReadOptions, Tally, VariantStream

# Small real files from public test suites; tests that use them are skipped where they are absent.
REAL_FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "variants"
BATCH_ID = uuid.UUID("0198c0de-0000-7000-8000-000000000001")
CSQ = '##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequences from VEP. Format: {}">'
STANDARD_HEADER = (
    "##fileformat=VCFv4.3",
    '##FILTER=<ID=LowQual,Description="Low">',
    "##contig=<ID=1,length=1000000>",
    "##contig=<ID=chrX,length=1000000>",
    '##INFO=<ID=AC,Number=A,Type=Integer,Description="">',
    '##INFO=<ID=AD,Number=R,Type=Integer,Description="">',
    '##INFO=<ID=GL,Number=G,Type=Float,Description="">',
    '##INFO=<ID=AF,Number=A,Type=Float,Description="">',
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="">',
    '##INFO=<ID=MQ,Number=1,Type=Float,Description="">',
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="">',
    '##INFO=<ID=TAG,Number=1,Type=String,Description="">',
    '##INFO=<ID=LIST,Number=.,Type=String,Description="">',
    '##INFO=<ID=PAIR,Number=2,Type=Integer,Description="">',
    '##INFO=<ID=END,Number=1,Type=Integer,Description="">',
    '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
)


def record(
    chrom: str = "1",
    pos: int | str = 100,
    ref: str = "A",
    alt: str = "G",
    info: str = ".",
    *,
    name: str = ".",
    qual: str = ".",
    filters: str = ".",
    calls: Sequence[str] = (),
    keys: str = "GT",
) -> str:
    """One record line without its end."""
    columns = [chrom, str(pos), name, ref, alt, qual, filters, info]
    return "\t".join([*columns, keys, *calls] if calls else columns)


def vcf_bytes(
    records: Sequence[str],
    *,
    more_header: Sequence[str] = (),
    samples: Sequence[str] = (),
    header: Sequence[str] = STANDARD_HEADER,
) -> bytes:
    """A whole VCF as text."""
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    if samples:
        columns += "\tFORMAT\t" + "\t".join(samples)
    return ("\n".join([*header, *more_header, columns, *records]) + "\n").encode()


class Loaded:
    """What a stream gave, as Python values."""

    def __init__(self, path: Path, **options: Any) -> None:
        options.setdefault("engine", "python")
        stream = VariantStream(path, options=ReadOptions(BATCH_ID, **options))
        self.stream = stream
        self.rows: list[dict[str, Any]] = []
        for batch in stream.batches():
            batch.validate(full=True)
            assert batch.schema == stream.schema
            self.rows += batch.to_pylist()

    @property
    def tally(self) -> Tally:
        return self.stream.tally

    @property
    def keys(self) -> list[tuple[str, int, str, str]]:
        return [(row["chrom"], row["pos"], row["ref"], row["alt"]) for row in self.rows]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    @property
    def info(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.column("info")]

    @property
    def annotations(self) -> list[dict[str, list[str]] | None]:
        return [None if text is None else json.loads(text) for text in self.column("vep_annotations")]


def load(
    folder: Path, records: Sequence[str], *, header: dict[str, Any] | None = None, **options: Any
) -> Loaded:
    """Write a VCF and read it."""
    path = folder / "file.vcf"
    path.write_bytes(vcf_bytes(records, **(header or {})))
    return Loaded(path, **options)
