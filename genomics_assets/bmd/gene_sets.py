"""Gene sets: GMT files, and the category map of BMDExpress's two-file "defined categories"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from genomics_assets.bmd.platform_annotation import PlatformAnnotation, read_table
from genomics_assets.input_error import InputError


@dataclass(frozen=True)
class GeneSet:
    """A category: its id, its title, its genes, each once, and its depth in an ontology where there is one."""

    id: str
    title: str
    genes: tuple[str, ...]
    level: int | None = None


@dataclass(frozen=True)
class GeneSets:
    """A collection of gene sets."""

    name: str
    sets: tuple[GeneSet, ...]

    @cached_property
    def genes(self) -> frozenset[str]:
        """All genes of all sets."""
        return frozenset(gene for gene_set in self.sets for gene in gene_set.genes)


@dataclass(frozen=True)
class SetCoverage:
    """How much of a collection a platform knows."""

    sets: int
    mapped_sets: int
    genes: int
    mapped_genes: int


def set_coverage(gene_sets: GeneSets, annotation: PlatformAnnotation) -> SetCoverage:
    """How many sets have a gene on the platform, and how many genes of the sets are on it."""
    return SetCoverage(
        sets=len(gene_sets.sets),
        mapped_sets=sum(not annotation.genes.isdisjoint(gene_set.genes) for gene_set in gene_sets.sets),
        genes=len(gene_sets.genes),
        mapped_genes=len(gene_sets.genes & annotation.genes),
    )


def read_gene_sets(path: Path, name: str | None = None) -> GeneSets:
    """Read a collection by the ending of its name: `.gmt`, or a category map."""
    return read_gmt(path, name) if path.suffix.lower() == ".gmt" else read_category_map(path, name)


def read_gmt(path: Path, name: str | None = None) -> GeneSets:
    """Read a GMT file (Broad Institute): a line is set, description, genes, separated by tabs.

    Raises:
        InputError: with the line: no gene, a set that comes twice; not UTF-8; a file without sets.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text at byte {error.start}", remedy="save it as UTF-8", file=path.name
        ) from None
    sets: dict[str, GeneSet] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        genes = _each_once(cells[2:])
        if not cells[0] or not genes:
            raise InputError(
                "a set without a name or without genes",
                remedy="write set, description and genes, separated by tabs",
                file=path.name,
                line=number,
            )
        if cells[0] in sets:
            raise InputError(
                f"the set {cells[0][:80]!r} comes twice", remedy="keep one", file=path.name, line=number
            )
        sets[cells[0]] = GeneSet(cells[0], cells[0], genes)
    return _collection(path, name, sets.values())


def read_category_map(path: Path, name: str | None = None) -> GeneSets:
    """Read a category map: a header, then lines of category id, category name, gene, separated by tabs.

    Raises:
        InputError: with the line: fewer than three cells; not UTF-8; a file without sets.
    """
    titles: dict[str, str] = {}
    genes: dict[str, list[str]] = {}
    for _, cells in read_table(path, columns=3):
        titles.setdefault(cells[0], cells[1])
        genes.setdefault(cells[0], []).append(cells[2])
    return _collection(path, name, (GeneSet(key, titles[key], _each_once(genes[key])) for key in titles))


def _each_once(genes: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, genes)))


def _collection(path: Path, name: str | None, sets: Iterable[GeneSet]) -> GeneSets:
    collection = GeneSets(name or path.stem, tuple(sets))
    if not collection.sets:
        raise InputError("no gene set in it", remedy="drop a GMT file or a category map", file=path.name)
    return collection
