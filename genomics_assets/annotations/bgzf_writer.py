"""Writing BGZF (SAM specification, section 4.1): gzip in blocks of at most 64 KB, so that an index can point into it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, BinaryIO

from genomics_assets.variants.container import BGZF_END

# What htslib puts into a block: the rest of 64 KB is room for what does not compress.
_BLOCK = 0xFF00
_HEAD = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
_AROUND = 25


class BgzfWriter:
    r"""Compresses what is written to it into a file that is open for writing; memory is one block.

    >>> import gzip, io
    >>> file = io.BytesIO()
    >>> with BgzfWriter(file) as out:
    ...     out.write(b"a line\n")
    >>> gzip.decompress(file.getvalue())
    b'a line\n'
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Take more bytes."""
        self._held += data
        while len(self._held) >= _BLOCK:
            self._file.write(_block(bytes(self._held[:_BLOCK])))
            del self._held[:_BLOCK]

    def flush(self) -> None:
        """End the current block, so that what follows may come from elsewhere."""
        if self._held:
            self._file.write(_block(bytes(self._held)))
            self._held.clear()

    def __enter__(self) -> BgzfWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last block and the end-of-file marker, unless the block failed."""
        if kind is None:
            self.flush()
            self._file.write(BGZF_END)


def _block(content: bytes) -> bytes:
    from isal import isal_zlib

    deflate: Any = isal_zlib
    # Raw deflate; level 3 is the densest that isal knows.
    compressor = deflate.compressobj(3, 8, -15)
    body = compressor.compress(content) + compressor.flush()
    return b"".join(
        (
            _HEAD,
            (len(body) + _AROUND).to_bytes(2, "little"),
            body,
            deflate.crc32(content).to_bytes(4, "little"),
            len(content).to_bytes(4, "little"),
        )
    )
