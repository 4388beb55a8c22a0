"""What the user interface shows of a scan, as Markdown tables; numbers and names of variants, never of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from genomics_assets.gwas.job_settings import JobParameters
from genomics_assets.gwas.quality_control import QualityReport

if TYPE_CHECKING:
    from genomics_assets.gwas.scan import Scanned

_MOST_LEADS = 20


def join_table(counts: Mapping[str, int]) -> str:
    """The join of samples in numbers."""
    return _table(["", "samples"], [[name.replace("_", " "), f"{count:,}"] for name, count in counts.items()])


def quality_table(report: QualityReport, parameters: JobParameters) -> str:
    """What was left out, by reason, with the threshold that decided."""
    thresholds = {
        "low_call_rate": tuple(f"over {most:g} missing" for most in (parameters.max_sample_missing, parameters.max_missing)),
        "heterozygosity_outlier": (f"beyond {parameters.heterozygosity_deviations:g} robust deviations", ""),
        "low_minor_allele_frequency": ("", f"below {parameters.maf_threshold:g}"),
        "hardy_weinberg": ("", f"p below {parameters.hwe_threshold:g}"),
    }  # fmt: skip
    rows = [
        ["sample", reason, f"{count:,}", thresholds.get(reason, ("", ""))[0]]
        for reason, count in report.sample_reasons().items()
    ]
    rows += [
        ["variant", reason, f"{count:,}", thresholds.get(reason, ("", ""))[1]]
        for reason, count in report.variant_reasons().items()
    ]
    rows += [
        ["sample", "**passed**", f"{int(report.samples.sum()):,}", ""],
        ["variant", "**passed**", f"{int(report.variants.sum()):,}", ""],
    ]
    return _table(["", "reason", "left out", "threshold"], rows)


def leads_table(scanned: Scanned) -> str:
    """The lead variants of a trait, strongest first."""
    leads = scanned.summary.leads[:_MOST_LEADS]
    if not leads:
        return "No variant reaches the threshold."
    rows = []
    for row, lead in zip(scanned.summary.lead_rows(scanned.table), leads, strict=False):
        effect = "" if row["beta"] is None else f"{row['beta']:.3f} ± {row['se']:.3f}"
        rows.append(
            [
                row["rsid"],
                f"{row['chromosome']}:{row['position']:,}",
                f"{row['ref_allele']} > {row['alt_allele']}",
                f"{row['maf']:.3f}",
                effect,
                f"{row['neg_log10_p']:.2f}",
                f"{lead.variants:,}",
            ]
        )
    more = len(scanned.summary.leads) - len(leads)
    text = _table(["lead", "place", "alleles", "MAF", "effect", "−log10 p", "variants of the locus"], rows)
    return f"{text}\n\nand {more:,} more" if more else text


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
