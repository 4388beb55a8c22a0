"""The one error of the embedded servers."""

from __future__ import annotations


class ServerError(RuntimeError):
    """An embedded server cannot start or stop.

    Args:
        problem: what is wrong and where, as one clause without a full stop.
        remedy: what to do about it, in the same form.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}. Remedy: {remedy}.")
