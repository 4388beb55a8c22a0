"""The sidecar of a dropped VCF, `<name>.yaml`: what its header does not tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from genomics_assets.sidecars import read_sidecar


@dataclass(frozen=True)
class VcfSidecar:
    """What a person says of a VCF.

    Attributes:
        reference_genome: assembly, at most 20 characters; goes before what the header suggests.
        sample_id: the one sample that a sites file belongs to, at most 255 characters.
    """

    reference_genome: str | None = field(default=None, metadata={"max_length": 20})
    sample_id: str | None = field(default=None, metadata={"max_length": 255, "personal": True})


def read_vcf_sidecar(path: Path) -> VcfSidecar:
    """Read `<name>.yaml`.

    Raises:
        InputError: with file and line, see `genomics_assets.sidecars.read_sidecar`.
    """
    return read_sidecar(path, VcfSidecar)
