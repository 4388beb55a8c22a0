"""What people ask a warehouse of two million rows, as a client sees it: statement sent to rows received."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from statistics import median

import psycopg

from benchmarks.vcf_generator import CONTIG_LENGTHS

_REGION = 10_000


@dataclass(frozen=True)
class Answers:
    """Queries of one kind.

    Attributes:
        seconds: median.
        slowest: the worst.
        rows: median.
    """

    seconds: float
    slowest: float
    rows: float


def ask(url: str, times: int = 50) -> dict[str, Answers]:
    """Queries by region and by gene, each for another random place."""
    draw = random.Random(11)
    chroms = list(CONTIG_LENGTHS)[:22]
    regions = [
        (chrom, draw.randrange(CONTIG_LENGTHS[chrom] - _REGION)) for chrom in draw.choices(chroms, k=times)
    ]
    genes = [f"GENE{draw.randrange(20000)}" for _ in range(times)]
    with psycopg.connect(url, autocommit=True) as connection:
        # What the nightly maintenance does.
        connection.execute("ANALYZE genomics.variants")
        return {
            "overlap of 10 kb": _asked(
                connection,
                "SELECT * FROM genomics.variants_overlapping(%s, %s, %s)",
                [(chrom, first, first + _REGION - 1) for chrom, first in regions],
            ),
            "gene": _asked(
                connection, "SELECT * FROM genomics.variants WHERE gene = %s", [(gene,) for gene in genes]
            ),
        }


def _asked(
    connection: psycopg.Connection[object], query: str, all_parameters: list[tuple[object, ...]]
) -> Answers:
    seconds, rows = [], []
    for parameters in all_parameters:
        started = time.perf_counter()
        found = connection.execute(query, parameters).fetchall()
        seconds.append(time.perf_counter() - started)
        rows.append(len(found))
    return Answers(median(seconds), max(seconds), median(rows))
