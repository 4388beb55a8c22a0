"""The benchmark's files: made from seeds, kept in a cache folder, because making them takes longer than loading them."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.vcf_generator import VcfGenerator, write_bgzf, write_vcf

# Positions of the moved copies: within every contig's length, and never where the original's are.
_STEP = 3


@dataclass(frozen=True)
class Input:
    """A file to load, and what it holds."""

    path: Path
    records: int
    alleles: int


def cache_folder() -> Path:
    """Where inputs and the peer's environment are kept between runs: below the system's temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"genomics-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def generated(name: str, records: int, *, samples: int = 0, consequences: bool = False) -> Input:
    """A generated file of about so many records."""
    path = cache_folder() / f"{name}_{records}.vcf.gz"
    truth = path.with_suffix(".json")
    if not truth.exists():
        print(f"making {path}", flush=True)
        generator = VcfGenerator(records, samples=samples, consequences=consequences)
        unfinished = path.with_name(f".{path.name}")
        found = write_vcf(unfinished, generator)
        unfinished.rename(path)
        truth.write_text(json.dumps({"records": found.records, "alleles": found.alleles}))
    return Input(path, **json.loads(truth.read_text()))


def moved(original: Input, times: int) -> Input:
    """The same records, each some bases further on: another file of the same size, made quickly."""
    path = original.path.with_name(f"{original.path.name.partition('.')[0]}_moved_{times}.vcf.gz")
    if not path.exists():
        print(f"making {path}", flush=True)
        unfinished = path.with_name(f".{path.name}")
        write_bgzf(unfinished, _moved_text(original.path, times * _STEP), level=1)
        unfinished.rename(path)
    return Input(path, **{name: value for name, value in asdict(original).items() if name != "path"})


def sites_of(original: Input, every: int) -> Input:
    """Every so many records of a file, without their INFO: variants that a source of the original's content annotates."""
    name = original.path.name.partition(".")[0]
    path = original.path.with_name(f"{name}_every_{every}.vcf.gz")
    truth = path.with_suffix(".json")
    if not truth.exists():
        print(f"making {path}", flush=True)
        counts = {"records": 0, "alleles": 0}
        unfinished = path.with_name(f".{path.name}")
        write_bgzf(unfinished, _sites_text(original.path, every, counts))
        unfinished.rename(path)
        truth.write_text(json.dumps(counts))
    return Input(path, **json.loads(truth.read_text()))


def _sites_text(path: Path, every: int, counts: dict[str, int]) -> Iterator[bytes]:
    number = 0
    with gzip.open(path, "rb") as text:
        for line in text:
            if line.startswith(b"#"):
                yield line
                continue
            number += 1
            if number % every == 0:
                columns = line.split(b"\t", 7)
                counts["records"] += 1
                counts["alleles"] += columns[4].count(b",") + 1
                yield b"\t".join([*columns[:7], b".\n"])


def _moved_text(path: Path, bases: int) -> Iterator[bytes]:
    held: list[bytes] = []
    with gzip.open(path, "rb") as text:
        for line in text:
            if not line.startswith(b"#"):
                chrom, pos, rest = line.split(b"\t", 2)
                line = b"%s\t%d\t%s" % (chrom, int(pos) + bases, rest)
            held.append(line)
            if len(held) == 1000:
                yield b"".join(held)
                held = []
    yield b"".join(held)
