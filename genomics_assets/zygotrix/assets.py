"""The document store's assets: the collections, the catalogue of traits, exports of the application, and its state.

    collections -> traits -> trait_crosses        users, conversations, university_courses, university_enrollments
                 dropped_traits ---^              integrity, usage

One partition of an export is one dropped file. Nothing here shows a value of a user's document.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from genomics_assets.pools import MONGO_WRITE
from genomics_assets.zygotrix.integrity import RULES, by_kind, findings_table
from genomics_assets.zygotrix.partitions import CONVERSATIONS, COURSES, ENROLLMENTS, TRAITS, USERS, Export
from genomics_assets.zygotrix.report import counts, drift_table, findings_summary, rejects_table
from resources.inbox import InboxResource
from resources.mongo_io_manager import Documents
from resources.zygotrix_store import ZygotrixStore

OWNERS = ["team:genomics-data"]
# Lost connections and restarting servers pass; a file that cannot be taken raises Failure, which is never retried.
RETRIES = dg.RetryPolicy(max_retries=2, delay=1)


def store_asset(**settings: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What all assets of the document store share."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key_prefix="zygotrix",
        group_name="zygotrix",
        owners=OWNERS,
        retry_policy=RETRIES,
        code_version="1",
        pool=MONGO_WRITE,
        **settings,
    )
    return decorator


@store_asset(kinds={"mongodb"})
def collections(zygotrix: ZygotrixStore) -> dg.MaterializeResult[None]:
    """The eight collections with their indexes and validators: made, brought up to date, and compared.

    Nothing is ever dropped: what is too many or in the way is reported with the command that removes it.
    """
    report = zygotrix.ensure_layout()
    return dg.MaterializeResult(
        metadata={
            "done": report.done or ["nothing: all was there"],
            "drift": dg.MetadataValue.md(drift_table(report.drift)),
            "differences": len(report.drift),
            "rules_enforced_by": "code and server"
            if report.keeps_validators
            else "code alone: this server keeps no validators",
            "documents": counts(zygotrix.counts()),
        }
    )


@store_asset(
    kinds={"mongodb"},
    io_manager_key="mongo_io",
    deps=[collections],
    # A trait that somebody corrected by a drop or in the application stays as they want it.
    metadata={"collection": "traits", "key": "_id", "take_over": False},
)
def traits(zygotrix: ZygotrixStore) -> Documents:
    """The bundled catalogue of Mendelian traits: genes, alleles, patterns of inheritance, and phenotypes.

    Every phenotype map covers every genotype that the alleles allow, males of X-linked traits included.
    """
    from genomics_assets.zygotrix.trait_catalogue import bundled_traits

    return Documents([settled.document.document() for settled in zygotrix.settle(bundled_traits())])


def export_asset(export: Export, name: str, description: str) -> dg.AssetsDefinition:
    """An asset that stores the documents of one dropped export, and quarantines the lines that are none."""

    @store_asset(
        name=name,
        description=description,
        partitions_def=export.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        kinds={"json", "mongodb"},
        io_manager_key="mongo_io",
        metadata={"collection": export.collection, "key": "_id", "preview": False},
    )
    def exported(
        context: dg.AssetExecutionContext, inbox: InboxResource, zygotrix: ZygotrixStore
    ) -> Documents:
        from genomics_assets.zygotrix.jsonl import expect_usable, read_export
        from genomics_assets.zygotrix.models import MODELS

        with zygotrix.taking(inbox, export.kinds, context.partition_key) as drop:
            with inbox.local(drop) as path:
                found = read_export(path, MODELS[export.collection], zygotrix.settle, file_name=drop.uri)
            quarantine = zygotrix.keep_rejects(found, context.partition_key)
            expect_usable(found, file_name=drop.uri, quarantine=quarantine)
        rejected = found.rejected.total()
        context.add_output_metadata(
            {
                "lines": found.lines,
                "accepted": found.accepted,
                "rejected": rejected,
                "rejects": dg.MetadataValue.md(rejects_table(found)),
                "unknown_fields_kept": counts(dict(found.unknown_fields.most_common(20))),
                **(
                    {"quarantine": quarantine, "earlier_documents": "kept, for lines were rejected"}
                    if rejected
                    else {}
                ),
            }
        )
        return Documents(found.documents(), whole=not rejected)

    return exported


users = export_asset(
    USERS,
    "users",
    "User accounts from dropped exports: one document for each e-mail address, roles and preferences in the canonical "
    "words. Neither address nor password hash ever appears outside the collection.",
)
dropped_traits = export_asset(
    TRAITS,
    "dropped_traits",
    "Traits from dropped exports, merged into the collection `traits` by their key: a dropped trait goes before the "
    "bundled one. Phenotypes must cover every genotype that the alleles allow.",
)
conversations = export_asset(
    CONVERSATIONS,
    "conversations",
    "Conversations with the assistant from dropped exports, each with its messages. Their text never appears outside "
    "the collection.",
)
university_courses = export_asset(
    COURSES,
    "university_courses",
    "Courses of the university from dropped exports: one document for each slug, with modules and lessons.",
)
university_enrollments = export_asset(
    ENROLLMENTS,
    "university_enrollments",
    "Who takes which course and how far they got, from dropped exports: one document for each user and course.",
)


@store_asset(
    kinds={"parquet"},
    io_manager_key="objects_io",
    deps=[traits, dg.AssetDep(dropped_traits, partition_mapping=dg.AllPartitionMapping())],
)
def trait_crosses(context: dg.AssetExecutionContext, zygotrix: ZygotrixStore) -> pa.Table:
    """Every cross of every stored trait: genotype and phenotype ratios for each pair of parents.

    Sex-linked traits have the ratios among daughters and among sons beside those among all children.
    """
    from genomics_assets.zygotrix.trait_catalogue import crosses_table

    stored, broken = zygotrix.traits()
    context.add_output_metadata({"traits": len(stored), "traits_that_break_rules": broken})
    return crosses_table(stored)


INTEGRITY_CHECKS = sorted({rule.check for rule in RULES.values()})


@store_asset(
    kinds={"mongodb", "parquet"},
    io_manager_key="objects_io",
    check_specs=[
        dg.AssetCheckSpec(
            name,
            asset=dg.AssetKey(["zygotrix", "integrity"]),
            description="; ".join(rule.meaning for rule in RULES.values() if rule.check == name),
        )
        for name in INTEGRITY_CHECKS
    ],
)
def integrity(zygotrix: ZygotrixStore) -> Iterator[dg.Output[pa.Table] | dg.AssetCheckResult]:
    """Whether the whole store fits together: references, owners, jobs and their results, and objects.

    One row for each finding, with what the job `repair_store` would do about it. Work under way is not a finding: the
    store is looked at twice.
    """
    found = zygotrix.findings()
    yield dg.Output(
        findings_table(found),
        metadata={
            "findings": len(found),
            "summary": dg.MetadataValue.md(findings_summary(found)),
            "documents": counts(zygotrix.counts()),
        },
    )
    for name in INTEGRITY_CHECKS:
        mine = [finding for finding in found if finding.rule.check == name]
        is_error = any(finding.rule.is_error for finding in mine)
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not mine,
            severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
            description=counts(by_kind(mine)) if mine else "",
            metadata=by_kind(mine),
        )


@store_asset(kinds={"mongodb", "parquet"}, io_manager_key="objects_io", metadata={"preview": False})
def usage(context: dg.AssetExecutionContext, zygotrix: ZygotrixStore) -> pa.Table:
    """What each user has and used: datasets, jobs, SNPs tested, CPU seconds, and bytes in the object store.

    One row a user, as of the moment of the run.
    """
    from genomics_assets.zygotrix.usage import usage_table

    used = zygotrix.usage()
    context.add_output_metadata(
        {
            "users": len(used),
            **{
                name: sum(getattr(one, name) for one in used)
                for name in (
                    "datasets",
                    "jobs",
                    "jobs_active",
                    "snps_tested",
                    "dataset_bytes",
                    "result_bytes",
                )
            },
            "cpu_seconds": round(sum(one.cpu_seconds for one in used), 3),
        }
    )
    return usage_table(used, datetime.now(UTC))


assets = [
    collections,
    traits,
    users,
    dropped_traits,
    conversations,
    university_courses,
    university_enrollments,
    trait_crosses,
    integrity,
    usage,
]
