"""The Arrow schema of the variants stream: one row for each ALT allele."""

from __future__ import annotations

import pyarrow as pa

VARIANTS = pa.schema(
    [
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("pos_range", pa.struct([("lower", pa.int64()), ("upper", pa.int64())]), nullable=False),
        pa.field("pos", pa.int64(), nullable=False),
        pa.field("end_pos", pa.int64(), nullable=False),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("alt", pa.string(), nullable=False),
        pa.field("qual", pa.float32()),
        pa.field("filter", pa.list_(pa.string())),
        pa.field("variant_type", pa.string(), nullable=False),
        pa.field("rs_id", pa.string()),
        pa.field("gene", pa.string()),
        pa.field("transcript", pa.string()),
        pa.field("hgvs_c", pa.string()),
        pa.field("hgvs_p", pa.string()),
        pa.field("consequence", pa.string()),
        pa.field("impact", pa.string()),
        pa.field("is_coding", pa.bool_(), nullable=False),
        pa.field("is_lof", pa.bool_(), nullable=False),
        pa.field("af_gnomad", pa.float32()),
        pa.field("af_gnomad_popmax", pa.float32()),
        pa.field("af_1kg", pa.float32()),
        pa.field("cadd_phred", pa.float32()),
        pa.field("clinvar_sig", pa.string()),
        pa.field("clinvar_review", pa.string()),
        pa.field("info", pa.string(), nullable=False),
        pa.field("vep_annotations", pa.string()),
        pa.field("sample_id", pa.string()),
        pa.field("load_batch_id", pa.binary(16), nullable=False),
        pa.field("call_rate", pa.float32()),
        pa.field("n_het", pa.int32()),
        pa.field("n_hom_alt", pa.int32()),
        pa.field("aaf", pa.float32()),
        pa.field("hwe_p", pa.float32()),
    ]
)

# What a file without annotations, and one without samples, leaves to the table's defaults.
_OF_ANNOTATIONS = {
    "gene", "transcript", "hgvs_c", "hgvs_p", "consequence", "impact", "is_coding", "is_lof", "vep_annotations",
}  # fmt: skip
_OF_SAMPLES = {"call_rate", "n_het", "n_hom_alt", "aaf", "hwe_p"}

COUNT_COLUMNS = (
    "gt_called",
    "gt_alleles",
    "gt_alt",
    "gt_het",
    "gt_hom",
    "gt_d_het",
    "gt_d_hom",
    "gt_d_other",
)

# What the engines give: the columns that differ from row to row, and counts of calls.
PARSED = pa.schema(
    [
        field
        for field in VARIANTS
        if field.name
        not in {
            "pos_range",
            "sample_id",
            "load_batch_id",
            "call_rate",
            "n_het",
            "n_hom_alt",
            "aaf",
            "hwe_p",
        }
    ]
    + [pa.field(name, pa.int32()) for name in COUNT_COLUMNS]
)


def filled_columns(*, annotated: bool, samples: int, sample_id: str | None) -> list[str]:
    """Columns that rows of a file can fill: the server's work on a row grows with each column that it is sent.

    Args:
        annotated: whether the header declares annotations.
        samples: how many samples the header names.
        sample_id: the sidecar's.

    >>> "gene" in filled_columns(annotated=False, samples=0, sample_id=None)
    False
    """
    left_out: set[str] = set()
    if not annotated:
        left_out |= _OF_ANNOTATIONS
    if not samples:
        left_out |= _OF_SAMPLES
    if samples != 1 and sample_id is None:
        left_out.add("sample_id")
    return [name for name in VARIANTS.names if name not in left_out]
