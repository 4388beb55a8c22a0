"""Refreshing sources from their publishers: for each configured source an asset, its schedule, and how fresh it must be.

Off as long as `GENOMICS_ANNOTATION_REFRESH` names no settings; see docs/annotation_refresh.md.
"""

import dagster as dg

from genomics_assets.annotations.refresh import CRON, PATIENCE, Every, SourceFeed, read_settings
from genomics_assets.input_error import InputError
from genomics_assets.variants.assets import OWNERS
from resources.annotation_downloads import AnnotationDownloads, Download, DownloadError
from resources.environment import Environment
from resources.preview import preview_table


def freshness(every: Every) -> dg.FreshnessPolicy:
    """Late when a look that is due was not made, missing when two were not; the UI shows it on the asset."""
    return dg.FreshnessPolicy.time_window(warn_window=PATIENCE[every], fail_window=2 * PATIENCE[every])


def refresh_definitions() -> dg.Definitions:
    """An asset, a job and a running schedule for each source of the settings; nothing where there are none.

    Settings that cannot be used hold up nothing else: a sensor fails with what is wrong with them.
    """
    path = Environment.from_environ().annotation_refresh
    if path is None:
        return dg.Definitions()
    try:
        feeds = read_settings(path)
    except InputError as error:
        return dg.Definitions(sensors=[_complaint(error)])
    assets = [download_asset(feed) for feed in feeds]
    return dg.Definitions(
        assets=assets,
        schedules=[_schedule(feed, asset) for feed, asset in zip(feeds, assets, strict=True)],
    )


def download_asset(feed: SourceFeed) -> dg.AssetsDefinition:
    """The asset `annotations/<source>_download`."""

    @dg.asset(
        name=f"{feed.source}_download",
        key_prefix="annotations",
        group_name="annotations",
        owners=OWNERS,
        kinds={"vcf"},
        code_version="1",
        freshness_policy=freshness(feed.every),
        description=f"The newest files of the annotation source {feed.source} from their publisher, dropped into the "
        "inbox where they changed, for the file-drop sensor to load. It materializes with each look, also where nothing "
        "changed, so that its freshness tells when the publisher was last asked.",
    )
    def download(
        context: dg.AssetExecutionContext, annotation_downloads: AnnotationDownloads
    ) -> dg.MaterializeResult[None]:
        try:
            done = annotation_downloads.refresh(feed)
        except DownloadError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return dg.MaterializeResult(metadata=_metadata(done))

    return download


def _metadata(done: list[Download]) -> dict[str, dg.MetadataValue | int]:
    shown = [
        {
            "file": download.file.shown,
            "outcome": download.outcome,
            "bytes": download.size,
            "sha256": download.sha256,
            "etag": download.etag,
            "last modified": download.last_modified,
            "checksum beside it": download.checksum,
            "requests": download.requests,
        }
        for download in done
    ]
    new = [download for download in done if download.outcome == "downloaded"]
    return {
        "files": dg.MetadataValue.md(preview_table(shown, list(shown[0]), cell=120)),
        "files_dropped": len(new),
        "bytes_dropped": sum(download.size for download in new),
    }


def _schedule(feed: SourceFeed, asset: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    job = dg.define_asset_job(
        f"refresh_{feed.source}",
        selection=dg.AssetSelection.assets(asset),
        description=f"Asks the publisher of {feed.source} for a newer version.",
    )
    return dg.ScheduleDefinition(
        name=f"{feed.source}_{feed.every}",
        job=job,
        cron_schedule=CRON[feed.every],
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks {feed.every} whether the publisher of {feed.source} has a newer version.",
    )


def _complaint(error: InputError) -> dg.SensorDefinition:
    def tick(_: dg.SensorEvaluationContext) -> dg.SkipReason:
        raise dg.Failure(str(error))

    return dg.SensorDefinition(
        name="annotation_refresh_settings",
        evaluation_fn=tick,
        minimum_interval_seconds=3600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails because the settings that GENOMICS_ANNOTATION_REFRESH names cannot be used.",
    )
