"""What a load tells its readers: tables in Markdown, made of counts alone.

Nothing here names a person: sample names never reach the event log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from genomics_assets.markdown import markdown_table

if TYPE_CHECKING:
    from genomics_assets.variants.header import VcfHeader
    from genomics_assets.variants.reader import Tally

# What each reason means to the person who dropped the file; the contract is docs/variants.md, section 10.
REASONS = {
    "no_alternate_allele": "record without an ALT allele",
    "position_outside_contig": "position before the first or beyond the last base of its contig",
    "crlf_line_ends": "line ends in CR LF",
    "lower_case_allele": "allele in lower case, stored in upper case",
    "end_before_pos": "END lies before POS, ignored",
    "info_wrong_count": "INFO list of another length than the header declares, kept whole",
    "info_wrong_type": "INFO value of another type than the header declares, kept as text",
    "undeclared_info": "INFO key that the header does not declare, kept as text",
    "undeclared_filter": "FILTER that the header does not declare",
    "undeclared_contig": "contig that the header does not declare",
    "info_repeated_key": "INFO key given twice in one record, the first one kept",
    "annotation_wrong_field_count": "annotation entry with another number of fields than the header says, never picked",
    "annotation_without_allele": "annotation entry of an allele that no ALT has, left out",
    "non_base_allele": "ALT of letters that are no bases, stored as written",
    "not_left_aligned": "allele that could not be left-aligned: the reference lacks its contig or holds other bases",
    "cut_to_column_width": "text cut to its column's width; whole in info or vep_annotations",
    "not_utf8": "record that is not UTF-8, read as Latin-1",
    "contig_not_standard": "contig beyond chr1 to chrM, stored under its own name",
}


def reasons_table(tally: Tally) -> str:
    """What was skipped and what was tolerated, by reason, with the first lines where it occurred."""
    rows = [("skipped", reason, count) for reason, count in sorted(tally.skipped.items())]
    rows += [("kept", reason, count) for reason, count in sorted(tally.noted.items())]
    if not rows:
        return "Every record was loaded as written."
    return markdown_table(
        ["", "reason", "count", "meaning", "first lines"],
        [
            (
                fate,
                f"`{reason}`",
                f"{count:,}",
                REASONS.get(reason, ""),
                _lines(tally.examples.get(reason, ())),
            )
            for fate, reason, count in rows
        ],
    )


def header_table(header: VcfHeader) -> str:
    """What the header says about where the file comes from."""
    rows = [
        ("format", header.file_format),
        ("assembly", header.assembly or "not told"),
        ("contigs declared", f"{len(header.contigs):,}"),
        ("samples", f"{len(header.samples):,}"),
        ("INFO / FORMAT fields", f"{len(header.info):,} / {len(header.formats):,}"),
        (
            "annotations",
            ", ".join(f"{tag} ({len(names)} fields)" for tag, names in header.annotations.items()) or "none",
        ),
        *((tool, version) for tool, version in header.tools.items()),
    ]
    return markdown_table(["", ""], rows)


def index_table(indexes: Iterable[tuple[str, int, float, int]]) -> str:
    """Indexes as name, partitions, seconds to build, and bytes.

    >>> print(index_table([("rare", 26, 1.25, 3_500_000)]))
    | index | partitions | seconds | MB |
    | --- | --- | --- | --- |
    | rare | 26 | 1.25 | 3.5 |
    """
    return markdown_table(
        ["index", "partitions", "seconds", "MB"],
        [
            (name, str(places), f"{seconds:.2f}", f"{size / 1e6:,.1f}")
            for name, places, seconds, size in indexes
        ],
    )


def counts(numbers: Mapping[str, int]) -> str:
    """Counts as one phrase, most first.

    >>> counts({"sex": 1, "family": 3})
    '3 family, 1 sex'
    """
    return (
        ", ".join(f"{n:,} {name}" for name, n in sorted(numbers.items(), key=lambda item: -item[1])) or "none"
    )


def _lines(numbers: Iterable[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)
