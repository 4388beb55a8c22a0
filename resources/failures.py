"""Failures as Dagster shows them."""

import dagster as dg

from genomics_assets.input_error import InputError


def permanent_failure(error: InputError, partition_key: str) -> dg.Failure:
    """A failure that no retry helps: the file must change."""
    return dg.Failure(
        description=str(error),
        metadata={
            "file": error.file or partition_key,
            "problem": error.problem,
            "remedy": error.remedy,
            **({"line": error.line} if error.line is not None else {}),
        },
        allow_retries=False,
    )
