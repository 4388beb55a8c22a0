"""Dropped platforms and gene sets, each with a small sidecar that says where it is from, as the rows that are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from genomics_assets.bmd.gene_sets import GeneSet, GeneSets, read_gene_sets
from genomics_assets.bmd.platform_annotation import PlatformAnnotation, read_probe_map
from genomics_assets.drops import Drop
from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Opened = Callable[[Drop | str], AbstractContextManager[Path]]

MAX_NAME_LENGTH = 255
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


@dataclass(frozen=True)
class NewReference:
    """A platform or a collection of gene sets as it was dropped.

    Attributes:
        name: its partition; what a sidecar names it by.
        version: as its own sidecar says, if it does.
        file_path: where the file lay.
        file_hash: SHA-256 of its bytes.
        about: further columns of its header row.
        rows: probe_id, gene and symbol of a platform; category_id, category_name, gene and level of gene sets.
    """

    name: str
    version: str | None
    file_path: str
    file_hash: str
    about: Mapping[str, Any]
    rows: pa.Table = field(repr=False)


def read_platform(drop: Drop, *, opened: Opened) -> NewReference:
    """Read a dropped probe map and its sidecar.

    Raises:
        InputError: see `platform_annotation.read_probe_map`; a name is too long.
    """
    import pyarrow as pa

    sidecar = _sidecar(drop, opened, PlatformSidecar)
    with opened(drop) as path:
        annotation = read_probe_map(path, drop.partition_key)
        digest = file_digest(path)
    rows = [(probe, gene) for probe, genes in annotation.genes_by_probe.items() for gene in genes]
    _check_lengths((name for row in rows for name in row), "a probe or gene", MAX_NAME_LENGTH, drop)
    table = pa.table(
        {
            "probe_id": pa.array([probe for probe, _ in rows], pa.string()),
            "gene": pa.array([gene for _, gene in rows], pa.string()),
            "symbol": pa.array([annotation.symbols.get(gene) for _, gene in rows], pa.string()),
        }
    )
    about = {
        "chip_name": sidecar.chip_name or drop.partition_key,
        "provider": sidecar.provider,
        "species": sidecar.species,
    }
    return NewReference(drop.partition_key, sidecar.version, drop.uri, digest, about, table)


def read_gene_set_collection(drop: Drop, *, opened: Opened) -> NewReference:
    """Read a dropped GMT file or category map, and its sidecar.

    Raises:
        InputError: see `gene_sets.read_gmt` and `read_category_map`; a name or a title is too long.
    """
    import pyarrow as pa

    sidecar = _sidecar(drop, opened, GeneSetSidecar)
    with opened(drop) as path:
        sets = read_gene_sets(path, drop.partition_key).sets
        digest = file_digest(path)
    rows = [(one, gene) for one in sets for gene in one.genes]
    _check_lengths(
        (name for one, gene in rows for name in (one.id, gene)), "a set or gene", MAX_NAME_LENGTH, drop
    )
    _check_lengths((one.title for one in sets), "a title", MAX_TITLE_LENGTH, drop)
    table = pa.table(
        {
            "category_id": pa.array([one.id for one, _ in rows], pa.string()),
            "category_name": pa.array([one.title for one, _ in rows], pa.string()),
            "gene": pa.array([gene for _, gene in rows], pa.string()),
            "level": pa.array([one.level for one, _ in rows], pa.int32()),
        }
    )
    about = {"category_type": sidecar.category_type}
    return NewReference(drop.partition_key, sidecar.version, drop.uri, digest, about, table)


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
    """The gene sets that `read_gene_set_collection` made these rows of, by id."""
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


def _sidecar(drop: Drop, opened: Opened, kind: type[T]) -> T:
    for uri in drop.sidecars:
        with opened(uri) as path:
            return read_sidecar(path, kind)
    return kind()


def _check_lengths(names: Any, what: str, limit: int, drop: Drop) -> None:
    for name in names:
        if len(name) > limit or "\0" in name:
            raise InputError(
                f"{what} has {len(name):,} characters, {limit} are the limit, or holds a NUL character",
                remedy="shorten it",
                file=drop.uri,
            )
