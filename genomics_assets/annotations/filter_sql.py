"""A filter expression as pieces of SQL: words from a closed set, columns that are known, values to be bound.

No character of an expression is ever part of a statement. Putting the pieces together, identifiers quoted, is left to
whoever speaks to the server.

A number that meets a single-precision column is rounded to single precision first: 0.01 in an expression is the 0.01
that a file wrote, so `af <= 0.01` holds for it and `af < 0.01` does not.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from genomics_assets.annotations.filter_expression import (
    And,
    Column,
    Comparison,
    Constant,
    Expression,
    Likeness,
    Membership,
    Not,
    Nullness,
    Or,
    Range,
    Truth,
)


@dataclass(frozen=True)
class Parameter:
    """A value of a statement, or several as a list, and the type that the server is told of each."""

    value: Constant | tuple[Constant, ...]
    type: Literal["text", "bigint", "double precision", "boolean"]


Piece = str | Column | Parameter

_COMPARATORS: dict[str, str] = {
    "==": " = ", "!=": " <> ", "<": " < ", "<=": " <= ", ">": " > ", ">=": " >= "
}  # fmt: skip
# All that a piece of text can be.
SQL_WORDS = frozenset(
    {
        *_COMPARATORS.values(), "(", ")", " AND ", " OR ", "NOT ", "TRUE", "FALSE", " = ANY (", " <> ALL (", " LIKE ",
        " NOT LIKE ", " BETWEEN ", " NOT BETWEEN ", " IS NULL", " IS NOT NULL",
    }
)  # fmt: skip


def sql_pieces(expression: Expression) -> list[Piece]:
    """The expression as what a statement is put together from, in order.

    Returns:
        Words of `SQL_WORDS`, columns to be quoted as identifiers, and parameters to be bound.

    >>> sql_pieces(Comparison(Column("variants", "pos", "integer"), "==", 7))[1:]
    [' = ', Parameter(value=7, type='bigint')]
    """
    match expression:
        case Comparison(left, comparator, right):
            column = left if isinstance(left, Column) else right
            return [_operand(left, column), _COMPARATORS[comparator], _operand(right, column)]
        case Membership(column, values, negated):
            return [column, " <> ALL (" if negated else " = ANY (", _list_parameter(values, column), ")"]
        case Likeness(column, pattern, negated):
            return [column, " NOT LIKE " if negated else " LIKE ", Parameter(pattern, "text")]
        case Range(column, low, high, negated):
            word = " NOT BETWEEN " if negated else " BETWEEN "
            return ["(", column, word, _operand(low, column), " AND ", _operand(high, column), ")"]
        case Nullness(column, negated):
            return [column, " IS NOT NULL" if negated else " IS NULL"]
        case Truth(of):
            return [of] if isinstance(of, Column) else ["TRUE" if of else "FALSE"]
        case Not(of):
            return ["NOT ", "(", *sql_pieces(of), ")"]
        case And(of):
            return _joined(of, " AND ")
        case Or(of):
            return _joined(of, " OR ")


def _joined(expressions: Sequence[Expression], word: str) -> list[Piece]:
    pieces: list[Piece] = []
    for expression in expressions:
        pieces += [word if pieces else "(", *sql_pieces(expression)]
    return [*pieces, ")"]


def _operand(value: Column | Constant, column: Column | Constant) -> Column | Parameter:
    return value if isinstance(value, Column) else _parameter(value, column)


def _parameter(value: Constant, column: Column | Constant) -> Parameter:
    """A constant as the type that its column is compared in."""
    if isinstance(value, bool):
        return Parameter(value, "boolean")
    if isinstance(value, str):
        return Parameter(value, "text")
    kind = column.kind if isinstance(column, Column) else "double"
    if kind == "integer" and isinstance(value, int):
        return Parameter(value, "bigint")
    return Parameter(_single(float(value)) if kind == "real" else float(value), "double precision")


def _list_parameter(values: Sequence[Constant], column: Column) -> Parameter:
    """The constants of a list, as the one type that holds them all."""
    if any(isinstance(value, float) for value in values):
        values = [float(value) for value in values]
    parameters = [_parameter(value, column) for value in values]
    return Parameter(tuple(cast(Constant, p.value) for p in parameters), parameters[0].type)


def _single(value: float) -> float:
    """The nearest single-precision number; the number itself where single precision has none near it."""
    try:
        [rounded] = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return value
    return value if rounded == 0 or math.isinf(rounded) else float(rounded)
