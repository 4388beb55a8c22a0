"""Ways in which a VCF arrives broken, each of which a loader must refuse: names, and what they make of a good file."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

Corruption = Callable[[bytes, random.Random], bytes]


def _in_a_record(change: Callable[[list[bytes], random.Random], list[bytes]]) -> Corruption:
    """Changes the columns of one record."""

    def corrupt(good: bytes, dice: random.Random) -> bytes:
        lines = good.splitlines(keepends=True)
        records = [number for number, line in enumerate(lines) if not line.startswith(b"#")]
        number = dice.choice(records)
        columns = lines[number].rstrip(b"\n").split(b"\t")
        lines[number] = b"\t".join(change(columns, dice)) + b"\n"
        return b"".join(lines)

    return corrupt


def _column(index: int, value: bytes) -> Corruption:
    return _in_a_record(lambda columns, _: [*columns[:index], value, *columns[index + 1 :]])


CORRUPTIONS: dict[str, tuple[str, Corruption]] = {
    "not text": (".vcf", lambda good, dice: dice.randbytes(len(good))),
    "nothing": (".vcf", lambda good, dice: b""),
    "no header": (".vcf", lambda good, dice: b"".join(
        line for line in good.splitlines(keepends=True) if not line.startswith(b"#"))),
    "no column line": (".vcf", lambda good, dice: b"".join(
        line for line in good.splitlines(keepends=True) if not line.startswith(b"#CHROM"))),
    "another format": (".vcf", lambda good, dice: b"<html><body>404 Not Found</body></html>\n"),
    "position in words": (".vcf", _column(1, b"ten")),
    "negative position": (".vcf", _column(1, b"-5")),
    "no reference allele": (".vcf", _column(3, b"")),
    "strange reference allele": (".vcf", _column(3, b"A G")),
    "quality in words": (".vcf", _column(5, b"good")),
    "too few columns": (".vcf", _in_a_record(lambda columns, dice: columns[: dice.randrange(1, 7)])),
    "cut gzip": (".vcf.gz", lambda good, dice: gzip.compress(good)[: -dice.randrange(12, 60)]),
    "damaged gzip": (".vcf.gz", lambda good, dice: _flip(gzip.compress(good), dice)),
    "gzip by name alone": (".vcf.gz", lambda good, dice: b"\x1f\x8b" + dice.randbytes(300)),
    "BCF by name alone": (".bcf", lambda good, dice: b"BCF\x02\x02" + dice.randbytes(300)),
}  # fmt: skip


def _flip(data: bytes, dice: random.Random) -> bytes:
    """Another checksum: the last eight bytes of gzip are CRC-32 and length."""
    changed = bytearray(data)
    changed[-8 + dice.randrange(4)] ^= 1 << dice.randrange(8)
    return bytes(changed)
