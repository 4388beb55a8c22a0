"""One load of one dropped file: what is known of it before its rows are read.

Holds no rows and talks to no store; the warehouse turns it into an audit row, its stream into table rows.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from genomics_assets.variants.header import VcfHeader
    from genomics_assets.variants.reader import Tally

# Raised when the reading engine gives other rows for the same bytes, so that a file can be loaded again.
READER_VERSION = 1


def new_load_id() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): the load ids of one warehouse sort by time, which keeps their index small."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


@dataclass(frozen=True)
class DroppedVcf:
    """A dropped file as its bytes and header tell.

    Attributes:
        partition_key: path under the inbox's `vcf` folder, without the ending.
        file_path: where it was dropped, a path or URL.
        file_hash: SHA-256 of the file as dropped, 64 hexadecimal digits.
        file_size: bytes.
        container: plain, gzip, bgzf or bcf.
    """

    partition_key: str
    file_path: str
    file_hash: str
    file_size: int
    container: str
    header: VcfHeader


@dataclass(frozen=True)
class VariantLoad:
    """A file ready to be loaded: its rows come from `batches`, and `tally` is whole once they are exhausted.

    Attributes:
        settings: what besides the file's bytes decides on the rows; the same content under other settings is
            another load.
        batches: gives the rows as record batches of `schema.VARIANTS`, without the columns that no row of the file can
            fill.
        tally: what was read, skipped and noted, valid when `batches` is exhausted.
    """

    file: DroppedVcf
    reference_genome: str
    settings: dict[str, Any]
    batches: Callable[[], Iterator[pa.RecordBatch]]
    tally: Callable[[], Tally]
    load_id: uuid.UUID = field(default_factory=new_load_id)
