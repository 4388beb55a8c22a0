"""Which annotation sources were not looked at, or not replaced, for longer than they should be."""

from __future__ import annotations

from collections.abc import Mapping

from resources.postgres import PostgresResource

MISSING_AFTER_DAYS: Mapping[str, float] = {"daily": 52 / 24, "weekly": 16, "monthly": 66}
"""Twice the time after which a source is late; see docs/annotation_refresh.md."""


def stale_sources(
    postgres: PostgresResource, every: Mapping[str, str], stale_days: float | None
) -> list[tuple[str, float]]:
    """Stale sources with their age in days, by name.

    Args:
        postgres: the database.
        every: how often each source that is refreshed by configuration is looked at. Such a source is as old as the
            last look at its publisher.
        stale_days: any other source is stale when its version was loaded longer ago; None: none is.
    """
    with postgres.connection() as connection:
        looked = dict(
            connection.execute(
                "SELECT source, extract(epoch FROM now() - min(checked_at))::float8 / 86400 "
                "FROM genomics.annotation_downloads GROUP BY source"
            ).fetchall()
        )
        loaded = dict(
            connection.execute(
                "SELECT name, extract(epoch FROM now() - loaded_at)::float8 / 86400 FROM genomics.annotation_sources"
            ).fetchall()
        )
    stale = {
        name: looked[name]
        for name, period in every.items()
        if name in looked and looked[name] > MISSING_AFTER_DAYS[period]
    }
    if stale_days is not None:
        stale |= {name: days for name, days in loaded.items() if name not in every and days > stale_days}
    return sorted(stale.items())
