"""Platforms: which genes a probe stands for.

A probe map is tab-separated text with a header: probe, gene; several lines or several genes separated by `;` make a
probe promiscuous. A platform `generic` takes each probe as the gene of its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from genomics_assets.input_error import InputError

GENERIC = "generic"


@dataclass(frozen=True)
class PlatformAnnotation:
    """A platform's probes.

    Attributes:
        name: of the platform.
        genes_by_probe: probe -> its genes, each once.
        symbols: gene -> what people call it, where known.
    """

    name: str
    genes_by_probe: Mapping[str, tuple[str, ...]]
    symbols: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def genes(self) -> frozenset[str]:
        """All genes of the platform."""
        return frozenset(gene for genes in self.genes_by_probe.values() for gene in genes)

    def symbol(self, gene: str) -> str:
        """The gene's symbol, or the gene."""
        return self.symbols.get(gene, gene)


@dataclass(frozen=True)
class MappingCoverage:
    """How much of a matrix a platform knows: probes, those with a gene, those with several."""

    probes: int
    mapped: int
    promiscuous: int

    @property
    def share(self) -> float:
        """Of the probes, those with a gene."""
        return self.mapped / self.probes if self.probes else 0.0


def generic_platform(probe_ids: Iterable[str]) -> PlatformAnnotation:
    """The platform on which each probe is the gene of its own name.

    >>> generic_platform(["TP53"]).genes_by_probe["TP53"]
    ('TP53',)
    """
    return PlatformAnnotation(GENERIC, {probe: (probe,) for probe in probe_ids})


def mapping_coverage(annotation: PlatformAnnotation, probe_ids: Sequence[str]) -> MappingCoverage:
    """How many of the probes the platform maps."""
    genes = [annotation.genes_by_probe.get(probe, ()) for probe in probe_ids]
    return MappingCoverage(len(genes), sum(map(bool, genes)), sum(len(found) > 1 for found in genes))


def read_probe_map(path: Path, name: str | None = None) -> PlatformAnnotation:
    """Read a probe map: columns probe, gene and optionally symbol; the first line is a header.

    Raises:
        InputError: with the line: fewer than two columns, an empty cell, not UTF-8; a file without a line of data.
    """
    genes: dict[str, dict[str, None]] = {}
    symbols: dict[str, str] = {}
    for line, cells in read_table(path, columns=2):
        for gene in filter(None, (part.strip() for part in cells[1].split(";"))):
            genes.setdefault(cells[0], {})[gene] = None
            if len(cells) > 2 and cells[2]:
                symbols[gene] = cells[2]
        if cells[0] not in genes:
            raise InputError("a probe without a gene", remedy="remove the line", file=path.name, line=line)
    if not genes:
        raise InputError(
            "no probe in it", remedy="drop a map with a header and lines `probe<TAB>gene`", file=path.name
        )
    return PlatformAnnotation(
        name or path.stem, {probe: tuple(found) for probe, found in genes.items()}, symbols
    )


def read_table(path: Path, columns: int) -> list[tuple[int, list[str]]]:
    """Lines of tab-separated text after its header, with their numbers; blank ones are passed over.

    Raises:
        InputError: a line with fewer columns or an empty cell among the first ones; not UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text at byte {error.start}", remedy="save it as UTF-8", file=path.name
        ) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if number == 1 or not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < columns or not all(cells[:columns]):
            raise InputError(
                f"{len(cells)} columns or an empty one, {columns} are needed",
                remedy="separate the cells by tabs and fill them",
                file=path.name,
                line=number,
            )
        rows.append((number, cells))
    return rows
