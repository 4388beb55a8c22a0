"""When assets are made by condition: rules that Dagster's automation sensor and `drain` both evaluate."""

import dagster as dg

# Files that keep coming must not put a pass off for ever.
AT_THE_LATEST = "*/15 * * * *"


def once_for_all_that_waits() -> dg.AutomationCondition[dg.AssetKey]:
    """Once for everything that came in above, as soon as nothing more is under way there; in any case four times an hour.

    For an asset without partitions that finds out by itself what there is to do. What comes while it runs makes it run
    again: only a request, never a finished run, ends the waiting, and not even a request where something came after it. (A
    look learns of both at once: of the request that the one before made, and of what has come since.)
    """
    condition = dg.AutomationCondition
    news = condition.any_deps_updated()
    waiting = news.since(condition.newly_requested() & ~news)
    overdue = condition.cron_tick_passed(AT_THE_LATEST)
    return (waiting & (~condition.any_deps_in_progress() | overdue) & ~condition.in_progress()).with_label(
        "once for all that waits"
    )
