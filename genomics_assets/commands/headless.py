"""`drain` and `demo`: everything that the inbox holds, loaded without a daemon and without the UI."""

from __future__ import annotations

from resources.environment import Environment


def drain_inbox(environment: Environment) -> int:
    """Load what is new in the inbox; one line for each file. Returns the exit status: 0 if no run failed."""
    return _drain(environment, report=False)


def demo(environment: Environment) -> int:
    """Load the bundled examples, and print what came of each file and each check.

    Returns the exit status: 0 if no run failed and no check found an error; warnings do not count.
    """
    return _drain(environment, report=True)


def _drain(environment: Environment, *, report: bool) -> int:
    from genomics_assets.commands.stack import (
        dagster_variables,
        drop_examples,
        drop_later_examples,
        start_stack,
    )

    stack = start_stack(environment)
    if report:
        drop_examples(environment, into_bucket=True)
    with dagster_variables(stack):
        # Imported late: all of Dagster and the code location come with it.
        from dagster import DagsterInstance

        from genomics_assets.definitions import build_definitions
        from sensors.drain import drain

        definitions = build_definitions()
        with DagsterInstance.get() as instance:
            status = drain(definitions, instance)
            if report and drop_later_examples(environment):
                status = max(status, drain(definitions, instance))
            if report:
                from genomics_assets.demo_report import print_report

                # What the schedules do at night, so that the report has their checks too.
                quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
                for job in ("look_after_store", "inspect_storage"):
                    definitions.resolve_job_def(job).execute_in_process(
                        instance=instance, run_config=quiet, raise_on_error=False
                    )
                status = max(status, 0 if print_report(instance, definitions) else 1)
    return status
