"""Containers of VCF text: plain, gzip, BGZF and BCF, told apart by their bytes and read as whole lines.

A BGZF file is walked block by block before anything is made of it, so that half a file is never taken for a
whole one. Reading checks every block's CRC32 and length. Files are read, never mapped: one that is cut
short meanwhile must give an error, not end the process.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from genomics_assets.input_error import InputError

ContainerKind = Literal["plain", "gzip", "bgzf", "bcf"]
_Compression = Literal["plain", "gzip", "bgzf"]

CHUNK_BYTES = 1 << 20
# A million samples with five values each make a line of 30 MB; an endless one is an attack or a mistake.
LONGEST_LINE = 1 << 27
_LARGEST_BLOCK = 1 << 16
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_GZIP_MAGIC = b"\x1f\x8b"
_BCF_MAGIC = b"BCF\x02"
_HEAD_BYTES = 1 << 16
_BLOCK_HEADER = 12
_SHORTEST_HEADER = 18
_TRAILER = 8

_COPY_AGAIN = "the copy was cut or damaged: copy the file again from its source and compare the checksums"
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive", "unpack it and drop the VCF that it holds"),
    (b"BZh", "a bzip2 file", "compress it with bgzip"),
    (b"\xfd7zXZ", "an xz file", "compress it with bgzip"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "compress it with bgzip"),
    (b"CRAM", "a CRAM file of reads", "drop the VCF that was called from it"),
    (b"\x89HDF", "an HDF5 file", "export it as VCF"),
    (b"BCF\x04", "a BCF of the first version", "convert it with bcftools 0.2 or older"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
)
_FOREIGN_COMPRESSED = (
    (b"BAM\x01", "a BAM file of reads", "drop the VCF that was called from it"),
    (b"TBI\x01", "a tabix index", "drop the VCF itself; no index is needed"),
    (b"CSI\x01", "an index", "drop the VCF itself; no index is needed"),
)


@dataclass(frozen=True)
class Survey:
    """What a file is, before its content is read.

    Attributes:
        kind: plain, gzip, bgzf or bcf.
        file_hash: SHA-256 of the file's own bytes, 64 hexadecimal digits.
        size: bytes.
    """

    kind: ContainerKind
    file_hash: str
    size: int


def survey(path: Path) -> Survey:
    """Tell a file's container, check that a BGZF is whole, and hash the file.

    Raises:
        InputError: the file is empty, no file, of another kind, or a BGZF that is cut or damaged.
    """
    kind = sniff(path)
    with _open(path) as file:
        if _compression(_head(file)) == "bgzf":
            check_blocks(path)
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
        return Survey(kind, digest.hexdigest(), os.fstat(file.fileno()).st_size)


def sniff(path: Path) -> ContainerKind:
    """Tell a file's container by its first bytes.

    Raises:
        InputError: the file is empty, no file, or plainly of another kind.
    """
    with _open(path) as file:
        head = _head(file)
    if not head:
        raise InputError(
            "the file is empty (zero bytes)",
            remedy="export it again; a VCF has a header even without records",
        )
    _refuse_foreign(head, _FOREIGN)
    if head.startswith(_BCF_MAGIC):
        return "bcf"
    compression = _compression(head)
    if compression == "plain":
        return "plain"
    content = _first_bytes(head)
    _refuse_foreign(content, _FOREIGN_COMPRESSED)
    return "bcf" if content.startswith(_BCF_MAGIC) else compression


def check_blocks(path: Path) -> int:
    """Walk the block headers of a BGZF file and say how many blocks it has, the end-of-file marker included.

    Raises:
        InputError: the file ends inside a block, holds bytes that are no block, or lacks the end-of-file
            marker.
    """
    with _open(path) as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        offset = blocks = length = 0
        while offset < size:
            header = os.pread(descriptor, 64, offset)
            length = _block_length(header, offset)
            if offset + length > size:
                raise InputError(
                    f"the file ends inside a BGZF block: the block at byte {offset:,} has {length:,} bytes, "
                    f"{size - offset:,} are there",
                    remedy=_COPY_AGAIN,
                )
            offset += length
            blocks += 1
        if length != len(BGZF_END) or os.pread(descriptor, length, size - length) != BGZF_END:
            raise InputError(
                f"the BGZF end-of-file marker is missing at byte {size:,}: "
                "the file is cut at the edge of a block",
                remedy=f"{_COPY_AGAIN}; one that is known to be whole can be written again with "
                "`bgzip -dc | bgzip -c`",
            )
    return blocks


class TextChunks:
    r"""The text of a VCF or BCF as chunks of whole lines.

    Iterating reads the file once; memory stays near the chunk size, or the longest line where that is longer.

    Args:
        path: the file, of any container.
        size: about how many bytes a chunk has.

    Attributes:
        content_hash: SHA-256 of the decompressed content, valid once iteration ended: for VCF that of the
            text, for BCF that of the BCF bytes.
    """

    def __init__(self, path: Path, size: int = CHUNK_BYTES) -> None:
        self._path = path
        self._size = size
        self.kind = sniff(path)
        self.content_hash = ""

    def __iter__(self) -> Iterator[bytes]:
        """Chunks in file order, each ending in a line end; one is added where the last line has none.

        Raises:
            InputError: the container is cut or damaged.
        """
        if self.kind == "bcf":
            self._hash_content()
            yield from _whole_lines(_bcf_text(self._path), self._size)
            return
        yield from _whole_lines(self._hashed(_decompressed(self._path, self._size)), self._size)

    def _hashed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
            yield piece
        self.content_hash = digest.hexdigest()

    def _hash_content(self) -> None:
        # A BCF is checked to its end before its first record is decoded: htslib's own errors name no place.
        for _ in self._hashed(_decompressed(self._path, self._size)):
            pass


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise InputError(
                "this is a folder", remedy="drop the file itself, or give the folder another name"
            )
        return path.open("rb")
    except FileNotFoundError:
        raise InputError("the file is gone", remedy="drop it again") from None
    except OSError as error:
        raise InputError(
            f"the file cannot be opened ({error.strerror})",
            remedy="check its permissions and what its link points to",
        ) from error


def _head(file: BinaryIO) -> bytes:
    return file.read(_HEAD_BYTES)


def _refuse_foreign(head: bytes, kinds: tuple[tuple[bytes, str, str], ...]) -> None:
    for magic, what, remedy in kinds:
        if head.startswith(magic):
            raise InputError(f"this is {what}, not a VCF", remedy=remedy)


def _compression(head: bytes) -> _Compression:
    if not head.startswith(_GZIP_MAGIC):
        return "plain"
    return "bgzf" if _extra_field_size(head) is not None else "gzip"


def _extra_field_size(header: bytes) -> int | None:
    """BSIZE of a BGZF block header (SAM specification, section 4.1); None where this is no BGZF block."""
    if len(header) < _SHORTEST_HEADER or header[:3] != b"\x1f\x8b\x08" or not header[3] & 4:
        return None
    if header[10:16] == b"\x06\x00BC\x02\x00":
        return int.from_bytes(header[16:18], "little")
    at, end = _BLOCK_HEADER, _BLOCK_HEADER + int.from_bytes(header[10:12], "little")
    while at + 4 <= min(end, len(header)):
        length = int.from_bytes(header[at + 2 : at + 4], "little")
        if header[at : at + 2] == b"BC" and length == 2:
            return int.from_bytes(header[at + 4 : at + 6], "little")
        at += 4 + length
    return None


def _block_length(header: bytes, offset: int) -> int:
    size = _extra_field_size(header)
    if size is not None:
        return size + 1
    if len(header) < _SHORTEST_HEADER and _GZIP_MAGIC.startswith(header[:2]):
        raise InputError(f"the file ends inside a BGZF block, the one at byte {offset:,}", remedy=_COPY_AGAIN)
    raise InputError(f"the bytes at {offset:,} are no BGZF block", remedy=_COPY_AGAIN)


def _first_bytes(head: bytes) -> bytes:
    """The first decompressed bytes of a gzip member; empty where they cannot be read."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 64)
    except zlib.error:
        return b""


def _decompressed(path: Path, size: int) -> Iterator[bytes]:
    with _open(path) as file:
        compression = _compression(_head(file))
        file.seek(0)
        if compression == "bgzf":
            yield from _bgzf_blocks(file)
        elif compression == "gzip":
            yield from _gzip_pieces(file, size)
        else:
            while piece := file.read(size):
                yield piece


def _bgzf_blocks(file: BinaryIO) -> Iterator[bytes]:
    from isal import isal_zlib

    deflate: Any = isal_zlib
    offset = 0
    ended = False
    while header := file.read(_BLOCK_HEADER):
        header += file.read(int.from_bytes(header[10:12], "little"))
        length = _block_length(header, offset)
        body = file.read(length - len(header))
        if len(header) + len(body) != length:
            raise InputError(
                f"the file ends inside a BGZF block, the one at byte {offset:,}", remedy=_COPY_AGAIN
            )
        expected_crc = int.from_bytes(body[-8:-4], "little")
        expected_size = int.from_bytes(body[-4:], "little")
        if expected_size > _LARGEST_BLOCK:
            # The size is what a damaged or hostile file says; memory for it is taken before it is known to be true.
            raise _damaged(offset)
        try:
            block = deflate.decompress(body[:-_TRAILER], wbits=-15, bufsize=max(expected_size, 1))
        except deflate.error as error:
            raise _damaged(offset) from error
        if len(block) != expected_size or deflate.crc32(block) != expected_crc:
            raise _damaged(offset)
        ended = not block
        if block:
            yield block
        offset += length
    if not ended:
        raise InputError(
            "the BGZF end-of-file marker is missing: the file was cut while it was read", remedy=_COPY_AGAIN
        )


def _damaged(offset: int) -> InputError:
    return InputError(
        f"the BGZF block at byte {offset:,} is damaged (its checksum does not hold)", remedy=_COPY_AGAIN
    )


def _gzip_pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    from isal import igzip, isal_zlib

    gzip: Any = igzip
    deflate: Any = isal_zlib
    done = 0
    try:
        with gzip.IGzipFile(fileobj=file, mode="rb") as content:
            while piece := content.read(size):
                done += len(piece)
                yield piece
    except EOFError as error:
        raise InputError(
            f"the gzip file ends in the middle, after {done:,} bytes of text", remedy=_COPY_AGAIN
        ) from error
    except (OSError, deflate.error) as error:
        raise InputError(
            f"the gzip file is damaged after {done:,} bytes of text ({error})", remedy=_COPY_AGAIN
        ) from error


def _bcf_text(path: Path) -> Iterator[bytes]:
    """VCF text of a BCF, decoded by htslib: the header, then record by record."""
    import cyvcf2

    # By descriptor: htslib takes some names for URLs or options.
    with _open(path) as file:
        try:
            reader = cyvcf2.VCF(file.fileno())
            yield reader.raw_header.encode()
            for variant in reader:
                yield str(variant).encode()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"htslib cannot decode the BCF ({error})", remedy=_COPY_AGAIN) from error


def _whole_lines(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length < size or b"\n" not in piece:
            if length > LONGEST_LINE:
                raise InputError(
                    f"a line of over {LONGEST_LINE >> 20} MiB", remedy="check that this file is a VCF"
                )
            continue
        text = b"".join(held)
        end = text.rfind(b"\n") + 1
        yield text[:end] if end < len(text) else text
        held = [text[end:]] if end < len(text) else []
        length = len(text) - end
    if length:
        text = b"".join(held)
        yield text if text.endswith(b"\n") else text + b"\n"
