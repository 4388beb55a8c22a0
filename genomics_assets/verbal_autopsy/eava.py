"""Expert algorithm verbal autopsy (EAVA): rules of experts, of which the first that holds names the cause.

The rules are data, versioned, in a file of the reference folder for each age group: named terms, then causes in the order
of their hierarchy, each an expression over the questionnaire's indicators and the age in days. Logic has three values
(Kleene): what was not asked is neither true nor false, and only what is true counts. A term that is used and nowhere
defined is an error, not a rule that silently never holds. Source of the method: Kalter et al. (2015), Journal of Global
Health 5:010415; Kalter et al. (2016), ibid. 6:010601.

    version: "example"
    age_group: neonate
    terms:
      fever: i147o == y
    causes:
      - {cause: Tetanus, when: "age > 2 and age < 27 and i219o == y"}
      - {cause: Sepsis, when: "fever and not i294o == n"}
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from genomics_assets.input_error import InputError
from genomics_assets.sidecars import read_sidecar
from genomics_assets.verbal_autopsy.broad_causes import UNSPECIFIED
from genomics_assets.verbal_autopsy.consistency import NO, UNKNOWN, YES
from genomics_assets.verbal_autopsy.reference_file import SYNTHETIC, ReferenceFile

# Kleene's values are ordered: `and` is the least, `or` the greatest, `not` changes the sign.
FALSE, UNDECIDED, TRUE = -1, 0, 1
AGE = "age"

_ORDERS = {ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Lt: np.less, ast.LtE: np.less_equal}
_GRAMMAR = "use and, or, not, brackets, `indicator == y`, `indicator != n`, and comparisons of numbers"


@dataclass(frozen=True)
class CauseRule:
    """A cause of the hierarchy, and when it is named."""

    cause: str
    when: str


@dataclass(frozen=True)
class RulesFile:
    """The keys of a file of rules, as they are written."""

    version: str
    age_group: str
    causes: list[CauseRule]
    terms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExpertRules:
    """Rules that were checked.

    Attributes:
        version: as the file tells it.
        sha256: of the file's bytes.
        age_group: whom they are for.
        terms: expressions by name; a term uses only those before it.
        causes: causes in the order of the hierarchy, with their expressions.
        indicators: the columns of answers that the rules look at, `age` among them where they do.
    """

    version: str
    sha256: str
    age_group: str
    terms: dict[str, ast.expr]
    causes: list[tuple[str, ast.expr]]
    indicators: tuple[str, ...]

    @property
    def is_synthetic(self) -> bool:
        """Whether the rules were made up, for tests and demonstration."""
        return SYNTHETIC in self.version.lower()


def read_rules(file: ReferenceFile) -> ExpertRules:
    """Read a file of rules.

    Raises:
        InputError: see `genomics_assets.sidecars.read_sidecar`; or an expression that is none, or a name that is neither
            an indicator nor a term before it.
    """
    told = read_sidecar(file.path, RulesFile)
    try:
        return checked_rules(told, file.sha256)
    except InputError as error:
        raise error.in_file(file.path.name) from None


def checked_rules(told: RulesFile, sha256: str = "") -> ExpertRules:
    """The rules of a file, each expression parsed and each name looked up.

    Raises:
        InputError: see `read_rules`.
    """
    if not told.causes:
        raise InputError("it names no causes", remedy="list causes, each with `cause` and `when`")
    terms: dict[str, ast.expr] = {}
    used: dict[str, None] = {}
    for name, text in told.terms.items():
        terms[name] = _parsed(f"term {name}", text, terms, used)
    causes = [(rule.cause, _parsed(f"cause {rule.cause}", rule.when, terms, used)) for rule in told.causes]
    return ExpertRules(told.version, sha256, told.age_group, terms, causes, tuple(used))


def assign_causes(rules: ExpertRules, answers: Mapping[str, np.ndarray], deaths: int) -> list[str]:
    """The cause of each death, `Unspecified` where no rule is true.

    Args:
        rules: for the age group of the deaths.
        answers: for each of `rules.indicators` (N,) of 1 yes, 0 no, -1 unknown; for `age` days, NaN where unknown.
        deaths: N.

    >>> told = RulesFile("example", "child", [CauseRule("Malaria", "fever and not rash"), CauseRule("Measles", "rash")],
    ...     {"fever": "i147o == y", "rash": "i233o == y"})
    >>> assign_causes(checked_rules(told), {"i147o": np.array([1, 1, 0]), "i233o": np.array([0, -1, 1])}, 3)
    ['Malaria', 'Unspecified', 'Measles']
    """
    values: dict[str, np.ndarray] = {}
    for name, expression in rules.terms.items():
        values[name] = _value(expression, values, answers, deaths)
    found = np.full(deaths, len(rules.causes))
    for place, (_, expression) in enumerate(rules.causes):
        holds = _value(expression, values, answers, deaths) == TRUE
        found[holds & (found == len(rules.causes))] = place
    names = [*(cause for cause, _ in rules.causes), UNSPECIFIED]
    return [names[place] for place in found]


def ages_in_days(cells: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    """(N,) float64 of a column of ages; NaN where it is blank or `.`.

    Raises:
        InputError: a cell that is no number of days, by its line.
    """
    ages = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if cell in ("", ".", "-"):
            continue
        if not re.fullmatch(r"\d{1,6}(\.\d+)?", cell):
            raise InputError(
                "an age that is no number of days",
                remedy="write whole days, or leave it blank",
                line=lines[place],
            )
        ages[place] = float(cell)
    return ages


# -- expressions ---------------------------------------------------------------------------------------------------


def _parsed(where: str, text: str, terms: Mapping[str, object], used: dict[str, None]) -> ast.expr:
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise _unreadable(where) from None
    _check(where, expression, terms, used)
    return expression


def _check(where: str, node: ast.expr, terms: Mapping[str, object], used: dict[str, None]) -> None:
    """Raise an `InputError` for anything but the few kinds of node that `_value` knows."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(where, part, terms, used)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(where, node.operand, terms, used)
    elif isinstance(node, ast.Name):
        if node.id not in terms:
            raise InputError(
                f"{where} uses {node.id!r}, which is no term before it",
                remedy="define it among the terms above, or compare it with y or n if it is an indicator",
            )
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name):
        used[node.left.id] = None
        answer = isinstance(node.comparators[0], ast.Name) and node.comparators[0].id in ("y", "n")
        equal = isinstance(node.ops[0], ast.Eq | ast.NotEq)
        number = isinstance(node.comparators[0], ast.Constant) and type(node.comparators[0].value) in (
            int,
            float,
        )
        if not (answer and equal) and not (number and type(node.ops[0]) in _ORDERS):
            raise _unreadable(where)
    else:
        raise _unreadable(where)


def _value(
    node: ast.expr, terms: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray], deaths: int
) -> np.ndarray:
    """(N,) int8 of Kleene's values."""
    if isinstance(node, ast.BoolOp):
        parts = [_value(part, terms, answers, deaths) for part in node.values]
        return np.asarray((np.min if isinstance(node.op, ast.And) else np.max)(parts, axis=0))
    if isinstance(node, ast.UnaryOp):
        return np.asarray(-_value(node.operand, terms, answers, deaths))
    if isinstance(node, ast.Name):
        return terms[node.id]
    assert isinstance(node, ast.Compare)  # noqa: S101 - `_check` let nothing else pass
    assert isinstance(node.left, ast.Name)  # noqa: S101
    column, wanted = answers[node.left.id], node.comparators[0]
    if isinstance(wanted, ast.Constant):
        order = _ORDERS[type(node.ops[0])]
        decided = order(column, float(cast(float, wanted.value)))
        return np.where(np.isnan(column), UNDECIDED, np.where(decided, TRUE, FALSE)).astype(np.int8)
    assert isinstance(wanted, ast.Name)  # noqa: S101
    same = column == (YES if wanted.id == "y" else NO)
    if isinstance(node.ops[0], ast.NotEq):
        same = ~same
    return np.where(column == UNKNOWN, UNDECIDED, np.where(same, TRUE, FALSE)).astype(np.int8)


def _unreadable(where: str) -> InputError:
    return InputError(f"the expression of {where} cannot be read", remedy=_GRAMMAR)
