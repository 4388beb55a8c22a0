"""A load in numbers: counted batch by batch from the variants stream, in memory that stays flat.

Transitions are A<->G and C<->T among variants of type snp whose bases are A, C, G or T; all other such
changes are transversions. Genotype counts come from `n_het` and `n_hom_alt`, summed over variants.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from genomics_assets.markdown import markdown_table

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("snp", "indel", "mnp", "sv", "bnd", "star", "non_ref")
IMPACTS = ("HIGH", "MODERATE", "LOW", "MODIFIER")
TRANSITIONS = ("A>G", "C>T", "G>A", "T>C")
TRANSVERSIONS = ("A>C", "A>T", "C>A", "C>G", "G>C", "G>T", "T>A", "T>G")
# Bins are closed on the left; the last one holds 1 as well.
FREQUENCY_EDGES = (0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
LONGEST_INDEL = 50
CHROMOSOMES_SHOWN = 30

_FREQUENCY_IN_INFO = r'"AF": ?(?P<af>[0-9.eE+-]+)[,}]'


@dataclass
class Cell:
    """The variants of one chromosome and type.

    Attributes:
        het_calls: heterozygous calls over these variants; None where no variant has genotypes.
        hom_alt_calls: homozygous calls of ALT; None as above.
        qual_sum: sum of the qualities that are given, `qual_count` of them.
    """

    variants: int = 0
    transitions: int = 0
    transversions: int = 0
    passed: int = 0
    coding: int = 0
    lof: int = 0
    het_calls: int | None = None
    hom_alt_calls: int | None = None
    qual_sum: float = 0.0
    qual_count: int = 0

    @property
    def mean_qual(self) -> float | None:
        """Mean of the qualities that are given."""
        return self.qual_sum / self.qual_count if self.qual_count else None

    def add(self, other: Cell) -> None:
        """Count the variants of another cell too."""
        for name, value in vars(other).items():
            if value is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)


@dataclass
class LoadSummary:
    """Counts of one load.

    Attributes:
        cells: by chromosome and variant type.
        substitutions: by change, such as `A>G`; snp only.
        impacts: by impact of the picked consequence; `none` without one.
        filters: by filter name, `PASS` included; a variant counts for each of its filters, and as `not
            applied` where it has none.
        frequencies: variants in each bin of `FREQUENCY_EDGES`, int64 of shape (bins,): ALT's frequency among
            the called alleles of the file's samples, or INFO `AF` in a file without calls.
        indel_lengths: by bases gained (positive) or lost; beyond `LONGEST_INDEL` all count one past it.
        load_id: the load that the rows belong to; None while there are none.
    """

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    substitutions: Counter[str] = field(default_factory=Counter)
    impacts: Counter[str] = field(default_factory=Counter)
    filters: Counter[str] = field(default_factory=Counter)
    frequencies: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(FREQUENCY_EDGES) - 1, dtype=np.int64)
    )
    indel_lengths: Counter[int] = field(default_factory=Counter)
    load_id: UUID | None = None

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> LoadSummary:
        """Summarise the record batches of one load."""
        summary = cls()
        for batch in batches:
            summary.add(batch)
        return summary

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a record batch of the variants stream.

        Needs the columns load_batch_id, chrom, variant_type, ref, alt, qual, filter, is_coding, is_lof,
        impact, n_het, n_hom_alt, aaf and info; others are left alone.

        Raises:
            KeyError: a column is not there.
            ValueError: the rows belong to more than one load.
        """
        if not batch.num_rows:
            return
        self._note_load(batch.column("load_batch_id"))
        types = batch.column("variant_type")
        change = _changes(types, batch.column("ref"), batch.column("alt"))
        self._add_cells(batch, change)
        _count(self.substitutions, change)
        _count(self.impacts, batch.column("impact"), null="none")
        _count_filters(self.filters, batch.column("filter"))
        self.frequencies += _frequency_counts(batch.column("aaf"), batch.column("info"))
        _count_indels(self.indel_lengths, types, batch.column("ref"), batch.column("alt"))

    def _note_load(self, ids: pa.Array) -> None:
        for value in getattr(ids, "storage", ids).unique().to_pylist():
            load_id = UUID(value) if isinstance(value, str) else UUID(bytes=value)
            if self.load_id not in (None, load_id):
                raise ValueError(f"rows of loads {self.load_id} and {load_id} in one summary; read one load")
            self.load_id = load_id

    def _add_cells(self, batch: pa.RecordBatch, change: pa.Array) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.table(
            {
                "chrom": batch.column("chrom").cast(pa.string()),
                "variant_type": batch.column("variant_type").cast(pa.string()),
                "transitions": pc.is_in(change, value_set=pa.array(TRANSITIONS)),
                "transversions": pc.is_in(change, value_set=pa.array(TRANSVERSIONS)),
                "passed": _passed(batch.column("filter")),
                "coding": batch.column("is_coding"),
                "lof": batch.column("is_lof"),
                "het_calls": batch.column("n_het"),
                "hom_alt_calls": batch.column("n_hom_alt"),
                "qual": batch.column("qual").cast(pa.float64()),
            }
        )
        sums = table.column_names[2:]
        grouped = table.group_by(["chrom", "variant_type"], use_threads=False).aggregate(
            [([], "count_all"), *((name, "sum") for name in sums), ("qual", "count")]
        )
        for row in grouped.to_pylist():
            key = (row["chrom"], row["variant_type"] or "unknown")
            calls = {name: row[f"{name}_sum"] for name in ("het_calls", "hom_alt_calls")}
            counts = {name: row[f"{name}_sum"] or 0 for name in sums[:5]}
            cell = Cell(
                variants=row["count_all"],
                **counts,
                **calls,
                qual_sum=row["qual_sum"] or 0.0,
                qual_count=row["qual_count"],
            )
            self.cells.setdefault(key, Cell()).add(cell)

    @property
    def total(self) -> Cell:
        """All variants together."""
        total = Cell()
        for cell in self.cells.values():
            total.add(cell)
        return total

    @property
    def ti_tv(self) -> float | None:
        """Transitions / transversions; None without transversions."""
        total = self.total
        return total.transitions / total.transversions if total.transversions else None

    @property
    def het_hom(self) -> float | None:
        """Heterozygous / homozygous-ALT calls; None without homozygous ones."""
        total = self.total
        return (total.het_calls or 0) / total.hom_alt_calls if total.hom_alt_calls else None

    @property
    def chromosomes(self) -> list[str]:
        """Chromosomes that hold variants, in their natural order."""
        return sorted({chrom for chrom, _ in self.cells}, key=chromosome_order)

    @property
    def types(self) -> list[str]:
        """Variant types that occur, snp first."""
        return sorted({kind for _, kind in self.cells}, key=_type_order)

    def counts_by_chromosome(self, most: int = CHROMOSOMES_SHOWN) -> dict[str, dict[str, int]]:
        """Variants by chromosome and type, in natural order; the smallest beyond `most` are `other`."""
        counts: dict[str, dict[str, int]] = {chrom: {} for chrom in self.chromosomes}
        for (chrom, kind), cell in self.cells.items():
            counts[chrom][kind] = cell.variants
        if len(counts) <= most:
            return counts
        # The sort is stable, so of equal contigs the naturally first ones are shown.
        shown = set(sorted(counts, key=lambda chrom: -sum(counts[chrom].values()))[:most])
        other: Counter[str] = Counter()
        for chrom in counts.keys() - shown:
            other.update(counts[chrom])
        return {chrom: counts[chrom] for chrom in counts if chrom in shown} | {"other": dict(other)}

    def to_table(self) -> pa.Table:
        """The rows of `genomics.variant_summary`: one for each chromosome and type, in natural order."""
        import pyarrow as pa

        keys = sorted(self.cells, key=lambda key: (chromosome_order(key[0]), _type_order(key[1])))
        load_id = None if self.load_id is None else self.load_id.bytes
        columns: list[tuple[str, Any, Any]] = [
            ("load_batch_id", pa.binary(16), lambda key, cell: load_id),
            ("chrom", pa.string(), lambda key, cell: key[0]),
            ("variant_type", pa.string(), lambda key, cell: key[1]),
            *((name, pa.int64(), _attribute(name)) for name in _COUNTS),
            ("mean_qual", pa.float32(), _attribute("mean_qual")),
        ]
        return pa.table(
            {
                name: pa.array([value(key, self.cells[key]) for key in keys], kind)
                for name, kind, value in columns
            }
        )

    def to_markdown(self) -> str:
        """The load for a reader: totals, then chromosomes and types, base changes, impacts and filters."""
        if not self.cells:
            return "No variants."
        parts = [
            _facts_table(self),
            _chromosome_table(self),
            _substitution_table(self.substitutions),
            _count_table("impact of the picked consequence", self.impacts, [*IMPACTS, "none"]),
            _count_table("filter", self.filters, [name for name, _ in self.filters.most_common(10)]),
        ]
        return "\n\n".join(part for part in parts if part)


_COUNTS = (
    "variants", "transitions", "transversions", "passed", "coding", "lof", "het_calls", "hom_alt_calls",
)  # fmt: skip


def chromosome_order(name: str) -> tuple[Any, ...]:
    """Sort key of a chromosome's name: 1 to 22, X, Y, M, then other contigs with their numbers by value.

    >>> sorted(["chrUn_2", "chrM", "chr10", "chrX", "chr2", "chrUn_10", "7"], key=chromosome_order)
    ['chr2', '7', 'chr10', 'chrX', 'chrM', 'chrUn_2', 'chrUn_10']
    """
    bare = re.sub(r"^chr", "", name, flags=re.IGNORECASE).upper()
    if re.fullmatch(r"[0-9]{1,9}", bare):
        return (0, int(bare), name)
    if bare in ("X", "Y", "M", "MT"):
        return (1, "XYM".index(bare[0]), name)
    parts = re.split(r"([0-9]+)", name)
    return (2, [(part.zfill(20) if part.isdigit() else part.lower()) for part in parts], name)


def _type_order(kind: str) -> tuple[int, str]:
    return (TYPES.index(kind) if kind in TYPES else len(TYPES), kind)


def _attribute(name: str) -> Any:
    return lambda key, cell: getattr(cell, name)


def _changes(types: pa.Array, ref: pa.Array, alt: pa.Array) -> pa.Array:
    """`A>G` for each snp between two of the four bases, else null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    snp = pc.equal(types.cast(pa.string()), "snp")
    change = pc.binary_join_element_wise(
        pc.if_else(snp, ref.cast(pa.string()), None), pc.if_else(snp, alt.cast(pa.string()), None), ">"
    )
    known = pc.is_in(change, value_set=pa.array(TRANSITIONS + TRANSVERSIONS))
    return pc.if_else(known, change, None)


def _count(counter: Counter[Any], values: pa.Array, null: str | None = None) -> None:
    for pair in values.value_counts().to_pylist():
        value = null if pair["values"] is None else pair["values"]
        if value is not None:
            counter[value] += pair["counts"]


def _passed(filters: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pc.list_parent_indices(filters).to_numpy()
    is_pass = pc.equal(pc.list_flatten(filters).cast(pa.string()), "PASS").fill_null(False)
    passed = np.zeros(len(filters), dtype=bool)
    passed[rows[is_pass.to_numpy(zero_copy_only=False)]] = True
    return pa.array(passed & (pc.list_value_length(filters).fill_null(0).to_numpy() == 1))


def _count_filters(counter: Counter[str], filters: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    _count(counter, pc.list_flatten(filters).cast(pa.string()))
    not_applied = int((pc.list_value_length(filters).fill_null(0).to_numpy() == 0).sum())
    if not_applied:
        counter["not applied"] += not_applied


def _frequency_counts(aaf: pa.Array, info: pa.Array) -> npt.NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if aaf.null_count == len(aaf):
        found = pc.struct_field(pc.extract_regex(info.cast(pa.string()), _FREQUENCY_IN_INFO), "af")
        numeric = pc.match_substring_regex(found, r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$").fill_null(False)
        aaf = found.filter(numeric).cast(pa.float64())
    # As single floats, so that a frequency written 0.7 and the edge 0.7 are the same number.
    values = aaf.drop_null().cast(pa.float32()).to_numpy()
    values = values[(values >= 0) & (values <= 1)]
    counts: npt.NDArray[np.int64] = np.histogram(values, bins=np.array(FREQUENCY_EDGES, dtype=np.float32))[0]
    return counts


def _count_indels(counter: Counter[int], types: pa.Array, ref: pa.Array, alt: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    indel = pc.equal(types.cast(pa.string()), "indel").fill_null(False)
    gained = pc.subtract(pc.binary_length(alt.filter(indel)), pc.binary_length(ref.filter(indel)))
    lengths, counts = np.unique(
        np.clip(gained.to_numpy(), -LONGEST_INDEL - 1, LONGEST_INDEL + 1), return_counts=True
    )
    counter.update(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))


def _facts_table(summary: LoadSummary) -> str:
    total = summary.total
    share = f"{total.passed:,} ({total.passed / total.variants:.1%})"
    rows = [("variants", f"{total.variants:,}"), ("passed all filters", share)]
    if total.mean_qual is not None:
        rows.append(("mean quality", f"{total.mean_qual:,.1f}"))
    if summary.substitutions:
        rows.append(("Ti/Tv", _ratio(summary.ti_tv, total.transitions, total.transversions)))
    if total.het_calls is not None:
        rows.append(("het/hom-ALT calls", _ratio(summary.het_hom, total.het_calls, total.hom_alt_calls or 0)))
    rows.append(("coding, loss of function", f"{total.coding:,}, {total.lof:,}"))
    if summary.indel_lengths:
        gained = sum(n for length, n in summary.indel_lengths.items() if length > 0)
        lost = sum(n for length, n in summary.indel_lengths.items() if length < 0)
        longer = sum(n for length, n in summary.indel_lengths.items() if abs(length) > LONGEST_INDEL)
        rows.append(
            ("insertions, deletions", f"{gained:,}, {lost:,} ({longer:,} longer than {LONGEST_INDEL} bases)")
        )
    return markdown_table(["", ""], rows)


def _ratio(ratio: float | None, above: int, below: int) -> str:
    return f"{'not defined' if ratio is None else f'{ratio:.2f}'} ({above:,} / {below:,})"


def _chromosome_table(summary: LoadSummary) -> str:
    types, counts = summary.types, summary.counts_by_chromosome()
    rows = [_row(chrom, types, by_type) for chrom, by_type in counts.items()]
    if len(rows) > 1:
        total: Counter[str] = Counter()
        for by_type in counts.values():
            total.update(by_type)
        rows.append(_row("**total**", types, total, escape=False))
    return markdown_table(["chromosome", *types, "all"], rows)


def _row(name: str, types: Iterable[str], counts: Mapping[str, int], *, escape: bool = True) -> list[str]:
    # HLA contigs hold asterisks, decoys underscores.
    label = re.sub(r"([\\`*_~<\[])", r"\\\1", name) if escape else name
    return [label, *(f"{counts.get(kind, 0):,}" for kind in types), f"{sum(counts.values()):,}"]


def _substitution_table(substitutions: Mapping[str, int]) -> str:
    if not substitutions:
        return ""
    rows = [
        [f"**{ref}**", *("" if ref == alt else f"{substitutions.get(f'{ref}>{alt}', 0):,}" for alt in "ACGT")]
        for ref in "ACGT"
    ]
    return markdown_table(["REF to ALT", *"ACGT"], rows)


def _count_table(title: str, counts: Mapping[str, int], names: Iterable[str]) -> str:
    return markdown_table([title, "variants"], [(n, f"{counts[n]:,}") for n in names if counts.get(n)])
