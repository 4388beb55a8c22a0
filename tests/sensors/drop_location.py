"""A code location with one partitioned asset that reads what was dropped; the tests and a real daemon load it."""

import os
from pathlib import Path

import dagster as dg

from genomics_assets.drops import DropKind
from genomics_assets.input_error import InputError
from resources.drop_ledger import DropLedgerResource
from resources.inbox import InboxResource
from resources.postgres import PostgresResource
from sensors.file_drops import file_drop_sensor

VCF = DropKind("vcf", "vcf", (".vcf", ".vcf.gz", ".bcf"), (".ped", ".yaml"))
GWAS = DropKind("gwas", "gwas", (".vcf", ".bed"), unit="folder", depth=2)

SETTLE_SECONDS = 0.05

files = dg.DynamicPartitionsDefinition(name="dropped_files")
datasets = dg.DynamicPartitionsDefinition(name="dropped_datasets")


@dg.asset(partitions_def=files)
def texts(context: dg.AssetExecutionContext, inbox: InboxResource) -> str:
    """The text of a dropped file; one that says `bad` fails, one that says `wait` takes its time."""
    import time

    drop = inbox.drop(VCF, context.partition_key)
    with inbox.local(drop) as path:
        text = path.read_text()
    if "bad" in text:
        raise InputError("it says bad", remedy="say something else", file=drop.uri, line=1)
    if "wait" in text:
        Path(os.environ["DROP_TEST_STARTED"]).touch()
        time.sleep(30)
    return text


@dg.asset(partitions_def=datasets)
def tables(context: dg.AssetExecutionContext, inbox: InboxResource) -> list[str]:
    """The names of a dataset's files."""
    with inbox.local(inbox.drop(GWAS, context.partition_key)) as path:
        return sorted(p.name for p in path.iterdir())


def definitions(
    url: str,
    inbox: str,
    *,
    endpoint: str | None = None,
    settle_seconds: float = SETTLE_SECONDS,
    claim_seconds: float = 60.0,
    interval: int = 0,
) -> dg.Definitions:
    """The code location for one database and one inbox."""
    ledger = DropLedgerResource(
        postgres=PostgresResource(url=url), settle_seconds=settle_seconds, claim_seconds=claim_seconds
    )
    load_text = dg.define_asset_job("load_text", selection=[texts])
    load_table = dg.define_asset_job("load_table", selection=[tables])
    return dg.Definitions(
        assets=[texts, tables],
        jobs=[load_text, load_table],
        sensors=[
            file_drop_sensor(VCF, job=load_text, partitions_def=files, minimum_interval_seconds=interval),
            file_drop_sensor(
                GWAS, job=load_table, partitions_def=datasets, minimum_interval_seconds=interval
            ),
        ],
        resources={
            "inbox": InboxResource(url=inbox, s3_endpoint_url=endpoint, drop_ledger=ledger),
            "drop_ledger": ledger,
            "io_manager": dg.mem_io_manager,
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What a daemon of a test loads."""
    return definitions(os.environ["DROP_TEST_POSTGRES"], os.environ["DROP_TEST_INBOX"])
