"""What can be wrong with a store that was written: asset checks beside those of `zygotrix/integrity`.

ERROR means that something does not work as it should, WARN that a person should look.
"""

import dagster as dg

from genomics_assets.zygotrix.partitions import CONVERSATIONS, COURSES, ENROLLMENTS, TRAITS, USERS, Export
from genomics_assets.zygotrix.report import counts
from resources.zygotrix_store import ZygotrixStore


@dg.asset_check(asset=dg.AssetKey(["zygotrix", "collections"]))
def as_laid_out(zygotrix: ZygotrixStore) -> dg.AssetCheckResult:
    """Collections, indexes and validators are as the layout wants them."""
    drift = zygotrix.drift()
    harmful = [d for d in drift if not d.is_harmless]
    return dg.AssetCheckResult(
        passed=not drift,
        severity=dg.AssetCheckSeverity.ERROR if harmful else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{d.collection}: {d.kind.replace('_', ' ')}: {d.what}" for d in drift[:5]),
        metadata={"harmful": len(harmful), "harmless": len(drift) - len(harmful)},
    )


@dg.asset_check(asset=dg.AssetKey(["zygotrix", "traits"]))
def phenotypes_cover_genotypes(zygotrix: ZygotrixStore) -> dg.AssetCheckResult:
    """Every stored trait keeps the rules of its model, whoever wrote it."""
    sound, broken = zygotrix.traits()
    return dg.AssetCheckResult(passed=not broken, metadata={"sound": len(sound), "broken": broken})


def lines_accepted(export: Export, asset_name: str) -> dg.AssetChecksDefinition:
    """A check that no line of a dropped export was rejected."""

    @dg.asset_check(
        name="lines_accepted",
        asset=dg.AssetKey(["zygotrix", asset_name]),
        partitions_def=export.partitions,
        description="Every line of the file became a document; rejected ones are in quarantine.",
    )
    def check(context: dg.AssetCheckExecutionContext, zygotrix: ZygotrixStore) -> dg.AssetCheckResult:
        rejects = zygotrix.rejects(export.collection, context.partition_key)
        return dg.AssetCheckResult(
            passed=not rejects,
            severity=dg.AssetCheckSeverity.WARN,
            description=counts(rejects) if rejects else "",
            metadata=dict(rejects),
        )

    return check


checks = [
    as_laid_out,
    phenotypes_cover_genotypes,
    *(
        lines_accepted(export, name)
        for export, name in (
            (USERS, "users"),
            (TRAITS, "dropped_traits"),
            (CONVERSATIONS, "conversations"),
            (COURSES, "university_courses"),
            (ENROLLMENTS, "university_enrollments"),
        )
    ),
]
