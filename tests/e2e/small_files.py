"""Small files of every kind that is dropped by the hundred, each with content that no other has."""

from __future__ import annotations

import json
import random
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "inbox"
VCF_RECORDS = 3


def small_vcf(number: int) -> bytes:
    """Three records that no other file has."""
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=chr2,length=242193529>"]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    lines += [f"chr2\t{number * 10 + i}\t.\tA\tC\t.\tPASS\t." for i in range(1, VCF_RECORDS + 1)]
    return ("\n".join(lines) + "\n").encode()


def small_traits(number: int) -> bytes:
    """One trait that no other file has."""
    trait = {
        "key": f"dropped_{number:05}",
        "name": f"Trait {number}",
        "type": "simple_dominant",
        "inheritance_pattern": "autosomal_dominant",
        "alleles": [
            {"symbol": "P", "name": "polled", "dominant": True},
            {"symbol": "p", "name": "horned", "dominant": False},
        ],
        "phenotypes": [
            {"genotypes": ["PP", "Pp"], "name": "without horns"},
            {"genotypes": ["pp"], "name": "with horns"},
        ],
        "description": "A trait that was dropped.",
        "tags": ["animal"],
        "created_at": "2026-02-01T00:00:00Z",
    }
    return (json.dumps(trait) + "\n").encode()


def small_source(day: int) -> bytes:
    """One version of an annotation source: eight sites, one of which is new."""
    lines = ["##fileformat=VCFv4.2", "##source=ClinVar", "##contig=<ID=chr2,length=242193529>"]
    lines.append('##INFO=<ID=CLNSIG,Number=.,Type=String,Description="s">')
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    lines += [
        f"2\t{10 * n + 1}\t{n}\tA\tC\t.\t.\tCLNSIG={'Benign' if n % 2 else 'Pathogenic'}"
        for n in range(day, day + 8)
    ]
    return ("\n".join(lines) + "\n").encode()


def small_matrix(number: int) -> bytes:
    """Twelve probes at four doses in triplicate; one in three responds."""
    noise = random.Random(number)
    doses = [dose for dose in (0.0, 1.0, 3.0, 10.0) for _ in range(3)]
    lines = ["\t".join(["SampleID", *(f"s{i}" for i in range(len(doses)))])]
    lines.append("\t".join(["Dose", *(f"{dose:g}" for dose in doses)]))
    for probe in range(12):
        slope = 0.3 if probe % 3 == 0 else 0.0
        values = [7 + slope * dose + noise.gauss(0, 0.1) for dose in doses]
        lines.append("\t".join([f"p{probe}", *(f"{value:.4f}" for value in values)]))
    return ("\n".join(lines) + "\n").encode()


MATRIX_SETTINGS = b"""log_transformation: BASE2
prefilter: {method: anova, p_value_cutoff: 0.05, use_multiple_testing_correction: false, fold_change: 1.2}
models: [linear, power]
bmr: {type: sd, factor: 1.349}
"""

BATCH_SETTINGS = b"""age_group: child
country: Exampleland
job_type: openva_only
algorithm: InterVA
"""


def small_batch(number: int) -> bytes:
    """Six deaths of the bundled made-up ones, under numbers that no other file has."""
    header, *rows = (EXAMPLES / "verbal_autopsy" / "children.csv").read_text().splitlines()
    chosen = [rows[(number * 6 + i) % len(rows)].partition(",")[2] for i in range(6)]
    return "\n".join([header, *(f"d{number}_{i},{row}" for i, row in enumerate(chosen))]).encode() + b"\n"
