"""Dropped platforms and gene sets, each with a small sidecar that says where it is from, as the rows that are stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genomics_assets.bmd.gene_sets import GeneSet, GeneSets, read_category_map, read_gmt
from genomics_assets.bmd.platform_annotation import PlatformAnnotation, read_probe_map
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TITLE_LENGTH = 1000


@dataclass(frozen=True)
class PlatformSidecar:
    """What a person says of a platform, in `<name>.yaml`.

    Attributes:
        version: of the annotation, for example the date of the vendor's file.
        chip_name: its full name.
        provider: who makes it.
        species: whose genes they are.
    """

    version: str | None = field(default=None, metadata={"max_length": 100})
    chip_name: str | None = field(default=None, metadata={"max_length": 255})
    provider: str | None = field(default=None, metadata={"max_length": 255})
    species: str | None = field(default=None, metadata={"max_length": 255})


@dataclass(frozen=True)
class GeneSetSidecar:
    """What a person says of a collection of gene sets, in `<name>.yaml`.

    Attributes:
        version: of the collection, for example MSigDB 2025.1.
        category_type: what its sets are.
    """

    version: str | None = field(default=None, metadata={"max_length": 100})
    category_type: Literal["GO", "PATHWAY", "DEFINED"] = "DEFINED"


def sidecar_of(
    path: Path | None, kind: type[PlatformSidecar] | type[GeneSetSidecar]
) -> PlatformSidecar | GeneSetSidecar:
    """Read a sidecar; without one, what its keys are by default."""
    return kind() if path is None else read_sidecar(path, kind)


def read_platform(path: Path, name: str) -> pa.Table:
    """Rows probe_id, gene, symbol of a probe map.

    Raises:
        InputError: see `platform_annotation.read_probe_map`.
    """
    import pyarrow as pa

    annotation = read_probe_map(path, name)
    rows = [(probe, gene) for probe, genes in annotation.genes_by_probe.items() for gene in genes]
    return pa.table(
        {
            "probe_id": pa.array([probe for probe, _ in rows], pa.string()),
            "gene": pa.array([gene for _, gene in rows], pa.string()),
            "symbol": pa.array([annotation.symbols.get(gene) for _, gene in rows], pa.string()),
        }
    )


def read_gene_sets(path: Path, name: str) -> pa.Table:
    """Rows category_id, category_name, gene, level of a GMT file or of a category map.

    Raises:
        InputError: the file has no sets, or a title is too long; see `gene_sets.read_gmt` and `read_category_map`.
    """
    import pyarrow as pa

    read = read_gmt if path.name.lower().endswith(".gmt") else read_category_map
    sets = read(path).sets
    if not sets:
        raise InputError(f"no gene set in {name!r}", remedy="write one set a line", file=path.name)
    for one in sets:
        if len(one.title) > MAX_TITLE_LENGTH:
            raise InputError(
                f"the title of set {one.id!r} has {len(one.title):,} characters, {MAX_TITLE_LENGTH:,} are the limit",
                remedy="shorten it",
                file=path.name,
            )
    rows = [(one, gene) for one in sets for gene in dict.fromkeys(one.genes)]
    return pa.table(
        {
            "category_id": pa.array([one.id for one, _ in rows], pa.string()),
            "category_name": pa.array([one.title for one, _ in rows], pa.string()),
            "gene": pa.array([gene for _, gene in rows], pa.string()),
            "level": pa.array([one.level for one, _ in rows], pa.int32()),
        }
    )


def annotation_of(name: str, rows: pa.Table) -> PlatformAnnotation:
    """The platform that `read_platform` made these rows of."""
    genes: dict[str, list[str]] = {}
    symbols: dict[str, str] = {}
    columns = (rows[column].to_pylist() for column in ("probe_id", "gene", "symbol"))
    for probe, gene, symbol in sorted(zip(*columns, strict=True), key=lambda row: row[:2]):
        genes.setdefault(probe, []).append(gene)
        if symbol is not None:
            symbols[gene] = symbol
    return PlatformAnnotation(name, {probe: tuple(own) for probe, own in genes.items()}, symbols)


def gene_sets_of(name: str, rows: pa.Table) -> GeneSets:
    """The gene sets that `read_gene_sets` made these rows of, by id."""
    members: dict[str, tuple[str, int | None, list[str]]] = {}
    columns = (rows[column].to_pylist() for column in ("category_id", "gene", "category_name", "level"))
    for category, gene, title, level in sorted(zip(*columns, strict=True), key=lambda row: row[:2]):
        members.setdefault(category, (title, level, []))[2].append(gene)
    sets = (
        GeneSet(category, title, tuple(genes), level) for category, (title, level, genes) in members.items()
    )
    return GeneSets(name, tuple(sets))


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
