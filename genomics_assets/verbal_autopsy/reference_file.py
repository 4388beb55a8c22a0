"""Reference data of verbal autopsy as files that the user supplies: which they are, and whether they are whole.

Symptom-cause matrices, misclassification matrices, mapping tables and expert rules belong to others and are not part
of this project. They lie in one folder, named by `GENOMICS_VA_REFERENCE`, under the names that `PATTERNS` tells. A file
`SHA256SUMS` in that folder, in the form of `sha256sum`, pins their bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from genomics_assets.input_error import InputError

PATTERNS = {
    "probbase": ("probbase*.csv", "probbase*.rda"),
    "misclassification": ("*missmat*.csv", "*missmat*.rda", "Mmat_champs*.rda", "misclassification*.csv"),
    "crossva": ("crossva*.csv", "*_to_InterVA5.csv"),
    "eava": ("eava*.yaml",),
}
CHECKSUMS = "SHA256SUMS"
# Part of the version of a made-up file, which is for tests and demonstration.
SYNTHETIC = "synthetic"
SUPPLY = (
    "put the file into the folder that GENOMICS_VA_REFERENCE names (docs/verbal_autopsy.md tells the formats)"
)


@dataclass(frozen=True)
class ReferenceFile:
    """A reference file: where it is, its bytes' SHA-256 as 64 hexadecimal digits, and its size."""

    path: Path
    sha256: str
    size: int


def find_reference(folder: Path | None, kind: str) -> ReferenceFile:
    """The one file of a kind in the reference folder, with its checksum made sure of.

    Args:
        folder: what `GENOMICS_VA_REFERENCE` names; None where it is not set.
        kind: a key of `PATTERNS`.

    Raises:
        InputError: no folder, no file or several of this kind, or bytes that are not those of `SHA256SUMS`.
    """
    found = list_reference(folder, kind)
    if not found:
        where = "GENOMICS_VA_REFERENCE is not set" if folder is None else f"{folder} holds no {kind} file"
        raise InputError(f"{where} ({' or '.join(PATTERNS[kind])})", remedy=SUPPLY)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"several {kind} files in {folder}: {names}", remedy="leave one of them there")
    return check_reference(found[0])


def made_up_reference() -> InputError:
    """The error for real data where there is only the made-up reference of the demonstration."""
    return InputError(
        "the reference in use is made up, for the bundled examples alone",
        remedy="set GENOMICS_VA_REFERENCE to a folder of the published files (docs/verbal_autopsy.md)",
    )


def list_reference(folder: Path | None, kind: str) -> list[Path]:
    """The files of a kind in the reference folder, by name; none where the folder is absent."""
    if folder is None or not folder.is_dir():
        return []
    return sorted({path for pattern in PATTERNS[kind] for path in folder.glob(pattern) if path.is_file()})


def check_reference(path: Path) -> ReferenceFile:
    """A file with the hash of its bytes, compared with `SHA256SUMS` beside it where that names the file.

    Raises:
        InputError: the bytes are others than the sum says, or the sums cannot be read.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    wanted = _checksums(path.with_name(CHECKSUMS)).get(path.name, found)
    if found != wanted:
        raise InputError(
            f"its SHA-256 is {found[:12]}…, and {CHECKSUMS} says {wanted[:12]}…",
            remedy=f"fetch the file again, or correct {CHECKSUMS} if the new bytes are meant",
            file=path.name,
        )
    return ReferenceFile(path, found, len(content))


def _checksums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if match is None:
            raise InputError(
                "not a line of sha256sum", remedy="write `<sha256>  <file name>`", file=path.name, line=number
            )
        sums[match[2]] = match[1].lower()
    return sums
