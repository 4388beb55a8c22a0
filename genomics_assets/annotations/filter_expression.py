r"""Filter expressions: a closed little language over typed columns, in the manner of echtvar (Pedersen, 2022).

    gnomad.af < 0.01 && clinvar_sig == 'Pathogenic'

An expression becomes a typed tree; `filter_sql` makes pieces of SQL of it.

NULL is unknown, as in SQL: a comparison with a missing value is neither true nor false, nor is its negation, and only
what is true is kept. `gnomad.af < 0.01` leaves out what gnomAD does not have;
`gnomad.af is null or gnomad.af < 0.01` keeps it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from genomics_assets.input_error import InputError

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

Kind = Literal["text", "integer", "real", "double", "boolean"]
Comparator = Literal["==", "!=", "<", "<=", ">", ">="]
Constant = str | int | float | bool

VARIANTS = "variants"
MAX_LENGTH = 10_000
MAX_NESTING = 50
_LARGEST_INTEGER = 2**63 - 1
_NUMBERS = ("integer", "real", "double")
_FAMILY: dict[str, str] = {"text": "text", "boolean": "a boolean", **dict.fromkeys(_NUMBERS, "a number")}

GRAMMAR = r"""
    start: disjunction
    disjunction: conjunction (_or conjunction)*
    conjunction: negation (_and negation)*
    negation: _not_or_nothing predicate
    predicate: "(" disjunction ")" | comparison | membership | likeness | range | nullness | truth
    comparison: operand COMPARATOR operand
    membership: operand NOT_WORD? IN "[" constant ("," constant)* "]"
    likeness: operand NOT_WORD? LIKE STRING
    range: operand NOT_WORD? BETWEEN operand AND_WORD operand
    nullness: operand IS NOT_WORD? NULL
    truth: operand
    operand: column | constant
    column: NAME ("." NAME)?
    constant: STRING | NUMBER | TRUE | FALSE
    _not_or_nothing: (NOT_WORD | NOT_SIGN)*
    _and: AND_WORD | "&&"
    _or: OR_WORD | "||"

    COMPARATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
    AND_WORD: "and"i
    OR_WORD: "or"i
    NOT_WORD: "not"i
    NOT_SIGN: "!"
    IN: "in"i
    LIKE: "like"i
    BETWEEN: "between"i
    IS: "is"i
    NULL: "null"i
    TRUE: "true"i
    FALSE: "false"i
    STRING: /'(?:[^']|'')*'/s | /"(?:[^"]|"")*"/s
    NUMBER: /[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?/
    NAME: /[a-z_][a-z0-9_]*/i
    %ignore /[ \t\r\n]+/
"""


class ExpressionError(InputError):
    """A filter expression that cannot be used; `position` is the 1-based character where it fails."""

    def __init__(self, problem: str, *, remedy: str, position: int) -> None:
        super().__init__(f"filter expression, character {position}: {problem}", remedy=remedy)
        self.position = position


# -- columns ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column that expressions may name.

    Attributes:
        source: `variants` for the warehouse's own, else the annotation source.
        name: of the column in its table.
        kind: what its values are; `real` is single, `double` double precision.
        description: one line, for headers and tables.
    """

    source: str
    name: str
    kind: Kind
    description: str = ""

    @property
    def label(self) -> str:
        """How the column is written in expressions, and named in what is made of them.

        >>> Column("variants", "qual", "real").label, Column("gnomad", "af", "real").label
        ('qual', 'gnomad.af')
        """
        return self.name if self.source == VARIANTS else f"{self.source}.{self.name}"


class Columns:
    """The closed set of columns that an expression may name."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.all = tuple(columns)
        self._by_label = {column.label: column for column in self.all}
        self._by_label |= {f"{VARIANTS}.{c.name}": c for c in self.all if c.source == VARIANTS}
        self._by_name: dict[str, list[Column]] = {}
        for column in self.all:
            self._by_name.setdefault(column.name, []).append(column)

    def find(self, label: str, position: int) -> Column:
        """The column of this label: the warehouse's own first, else the one source that has it.

        Raises:
            ExpressionError: no column, or more than one, has the label.
        """
        if label in self._by_label:
            return self._by_label[label]
        found = self._by_name.get(label, [])
        if len(found) == 1:
            return found[0]
        if found:
            labels = " or ".join(column.label for column in found)
            raise ExpressionError(
                f"{label!r} is a column of more than one source", remedy=f"write {labels}", position=position
            )
        raise ExpressionError(
            f"unknown column {_shown(label)}", remedy=self._did_you_mean(label), position=position
        )

    def _did_you_mean(self, label: str) -> str:
        if label.lower() == "null":
            return "write `is null` or `is not null`"
        known = {name.lower(): name for name in [*self._by_name, *self._by_label]}
        near = difflib.get_close_matches(label.lower(), known, 3)
        if near:
            return f"write {' or '.join(known[name] for name in near)}, if that is meant"
        return f"put text in quotes; the columns are {', '.join(column.label for column in self.all)}"


# -- the typed tree ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """`left comparator right`; at least one side is a column."""

    left: Column | Constant
    comparator: Comparator
    right: Column | Constant


@dataclass(frozen=True)
class Membership:
    """`column in [values]`."""

    column: Column
    values: tuple[Constant, ...]
    negated: bool = False


@dataclass(frozen=True)
class Likeness:
    """`column like pattern`: % stands for any text, _ for any one character, a backslash takes the next as it is."""

    column: Column
    pattern: str
    negated: bool = False


@dataclass(frozen=True)
class Range:
    """`column between low and high`, both ends included."""

    column: Column
    low: Column | Constant
    high: Column | Constant
    negated: bool = False


@dataclass(frozen=True)
class Nullness:
    """`column is null`."""

    column: Column
    negated: bool = False


@dataclass(frozen=True)
class Truth:
    """A boolean column, or `true` or `false`, as a condition."""

    of: Column | bool


@dataclass(frozen=True)
class Not:
    """Negation; what is unknown stays unknown."""

    of: Expression


@dataclass(frozen=True)
class And:
    """All of them."""

    of: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """Any of them."""

    of: tuple[Expression, ...]


Expression = Comparison | Membership | Likeness | Range | Nullness | Truth | Not | And | Or


def parse(text: str, columns: Columns) -> Expression:
    """Read an expression, and check it against the columns that there are.

    >>> columns = Columns([Column("variants", "clinvar_sig", "text"), Column("gnomad", "af", "real")])
    >>> parse("af < 0.01 and not clinvar_sig == 'Benign'", columns).of[0]
    Comparison(left=Column(source='gnomad', name='af', kind='real', description=''), comparator='<', right=0.01)
    >>> parse("af < 'rare'", columns)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ExpressionError: filter expression, character 1: gnomad.af is a number, 'rare' is text. Remedy: ...

    Raises:
        ExpressionError: it is no expression of this language, names an unknown column, or compares what cannot be
            compared.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"{len(text):,} characters, {MAX_LENGTH:,} are the limit",
            remedy="name long lists by an annotation source of your own",
            position=MAX_LENGTH,
        )
    return _Builder(columns).expression(_parsed(text))


def render(expression: Expression) -> str:
    """The expression as text that `parse` reads to the same tree.

    >>> render(And((Truth(Column("variants", "is_lof", "boolean")), Membership(Column("s", "a", "integer"), (1, 2)))))
    'is_lof and s.a in [1, 2]'
    """
    match expression:
        case Comparison(left, comparator, right):
            return f"{_rendered(left)} {comparator} {_rendered(right)}"
        case Membership(column, values, negated):
            listed = ", ".join(map(_rendered, values))
            return f"{column.label} {'not ' if negated else ''}in [{listed}]"
        case Likeness(column, pattern, negated):
            return f"{column.label} {'not ' if negated else ''}like {_rendered(pattern)}"
        case Range(column, low, high, negated):
            word = "not between" if negated else "between"
            return f"{column.label} {word} {_rendered(low)} and {_rendered(high)}"
        case Nullness(column, negated):
            return f"{column.label} is {'not ' if negated else ''}null"
        case Truth(of):
            return _rendered(of)
        case Not(of):
            return f"not {_in_parentheses(of)}"
        case And(of):
            return " and ".join(map(_in_parentheses, of))
        case Or(of):
            return " or ".join(map(_in_parentheses, of))


def columns_of(expression: Expression) -> set[Column]:
    """The columns that an expression names."""
    match expression:
        case And(of) | Or(of):
            return set().union(*map(columns_of, of))
        case Not(of):
            return columns_of(of)
        case _:
            return {value for value in vars(expression).values() if isinstance(value, Column)}


def _in_parentheses(expression: Expression) -> str:
    text = render(expression)
    return f"({text})" if isinstance(expression, And | Or) else text


def _rendered(value: Column | Constant) -> str:
    if isinstance(value, Column):
        return value.label
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


# -- from text to tree -------------------------------------------------------------------------------------------


class _Builder:
    """Makes the typed tree of what the grammar found."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def expression(self, tree: Tree[Token]) -> Expression:
        rule, parts = tree.data, _children(tree)
        if rule == "disjunction":
            return self._several(_without(parts, "OR_WORD"), Or)
        if rule == "conjunction":
            return self._several(_without(parts, "AND_WORD"), And)
        if rule == "negation":
            *signs, of = parts
            return _negated(self.expression(of)) if len(signs) % 2 else self.expression(of)
        if rule == "predicate":
            return self.expression(parts[0])
        first, *rest = _without(parts, "NOT_WORD")
        negated = len(rest) + 1 < len(parts)
        return getattr(self, f"_{rule}")(first, rest, negated)  # type: ignore[no-any-return]

    def _several(self, parts: Sequence[Any], kind: type[And] | type[Or]) -> Expression:
        """One stands for itself; what is of the same kind inside is taken in, for the grouping means nothing."""
        if len(parts) == 1:
            return self.expression(parts[0])
        members: list[Expression] = []
        for part in parts:
            member = self.expression(part)
            members += member.of if isinstance(member, kind) else [member]
        return kind(tuple(members))

    def _comparison(self, first: Tree[Token], rest: Sequence[Any], _: bool) -> Expression:
        comparator, second = rest
        left, right = self._value(first), self._value(second)
        column = left if isinstance(left, Column) else right
        if not isinstance(column, Column):
            raise ExpressionError(
                "two constants are compared", remedy="compare with a column", position=_position(first)
            )
        self._check_comparable(column, left if column is right else right, _position(first))
        if comparator not in ("==", "!=") and _FAMILY[column.kind] != "a number":
            raise ExpressionError(
                f"{column.label} is {_FAMILY[column.kind]}, which has no order",
                remedy="use ==, !=, in or like" if column.kind == "text" else "use == or !=",
                position=_position(comparator),
            )
        return Comparison(left, str(comparator), right)  # type: ignore[arg-type]

    def _membership(self, first: Tree[Token], rest: Sequence[Any], negated: bool) -> Expression:
        column = self._column_of(first, "in")
        values = []
        for part in rest[1:]:
            value = _constant(part)
            self._check_comparable(column, value, _position(part))
            values.append(value)
        return Membership(column, tuple(values), negated)

    def _likeness(self, first: Tree[Token], rest: Sequence[Any], negated: bool) -> Expression:
        column = self._column_of(first, "like")
        pattern = _text(rest[1])
        if column.kind != "text":
            raise ExpressionError(
                f"{column.label} is {_FAMILY[column.kind]}, and like compares text",
                remedy="use ==, <, > or between",
                position=_position(first),
            )
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise ExpressionError(
                "the pattern ends in a backslash, which takes the next character as it is",
                remedy="write two backslashes for one",
                position=_position(rest[1]),
            )
        return Likeness(column, pattern, negated)

    def _range(self, first: Tree[Token], rest: Sequence[Any], negated: bool) -> Expression:
        column = self._column_of(first, "between")
        if _FAMILY[column.kind] != "a number":
            raise ExpressionError(
                f"{column.label} is {_FAMILY[column.kind]}, which has no order",
                remedy="use == or in",
                position=_position(first),
            )
        low, high = self._value(rest[1]), self._value(rest[3])
        self._check_comparable(column, low, _position(rest[1]))
        self._check_comparable(column, high, _position(rest[3]))
        return Range(column, low, high, negated)

    def _nullness(self, first: Tree[Token], _: Sequence[Any], negated: bool) -> Expression:
        return Nullness(self._column_of(first, "is null"), negated)

    def _truth(self, first: Tree[Token], *_: Any) -> Expression:
        value = self._value(first)
        if isinstance(value, bool):
            return Truth(value)
        if isinstance(value, Column) and value.kind == "boolean":
            return Truth(value)
        shown = value.label if isinstance(value, Column) else _shown(value)
        raise ExpressionError(
            f"{shown} alone is no condition", remedy=f"write {shown} == …", position=_position(first)
        )

    def _column_of(self, operand: Tree[Token], word: str) -> Column:
        value = self._value(operand)
        if isinstance(value, Column):
            return value
        raise ExpressionError(
            f"a constant stands before `{word}`",
            remedy="write a column there",
            position=_position(operand),
        )

    def _value(self, operand: Tree[Token]) -> Column | Constant:
        [part] = _children(operand)
        if part.data == "constant":
            return _constant(part)
        return self.columns.find(".".join(map(str, _children(part))), _position(part))

    @staticmethod
    def _check_comparable(column: Column, value: Column | Constant, position: int) -> None:
        kind = value.kind if isinstance(value, Column) else _kind_of(value)
        if _FAMILY[kind] == _FAMILY[column.kind]:
            return
        shown = value.label if isinstance(value, Column) else _shown(value)
        remedy = {"text": "put text in quotes", "boolean": "compare it with true or false"}
        raise ExpressionError(
            f"{column.label} is {_FAMILY[column.kind]}, {shown} is {_FAMILY[kind]}",
            remedy=remedy.get(column.kind, "compare it with a number, without quotes"),
            position=position,
        )


def _negated(expression: Expression) -> Expression:
    return expression.of if isinstance(expression, Not) else Not(expression)


def _children(tree: Any) -> list[Any]:
    return list(tree.children)


def _without(parts: Sequence[Any], token_type: str) -> list[Any]:
    return [part for part in parts if getattr(part, "type", None) != token_type]


def _position(part: Any) -> int:
    """Where a token or tree begins, counted from 1."""
    while hasattr(part, "children"):
        part = part.children[0]
    return int(part.start_pos) + 1


def _constant(tree: Tree[Token]) -> Constant:
    [token] = _children(tree)
    if token.type == "STRING":
        return _text(token)
    if token.type in ("TRUE", "FALSE"):
        return bool(token.type == "TRUE")
    return _number(token)


def _number(token: Token) -> int | float:
    whole = token.lstrip("+-").isdigit()
    # Python refuses to read integers of thousands of digits.
    value: int | float = int(token) if whole and len(token) < 30 else float(token)
    if not math.isfinite(value) or (whole and abs(value) > _LARGEST_INTEGER):
        raise ExpressionError(
            f"the number {_shown(str(token))} is too large",
            remedy="use a number that the column can hold",
            position=_position(token),
        )
    return value


def _text(token: Token) -> str:
    quote = token[0]
    text = token[1:-1].replace(quote * 2, quote)
    if "\0" in text or not _is_unicode(text):
        raise ExpressionError(
            "the text holds a character that no database takes (NUL, or half a surrogate pair)",
            remedy="leave it out",
            position=_position(token),
        )
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _kind_of(value: Constant) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "double"


def _shown(value: Constant) -> str:
    text = str(value)
    cut = text if len(text) <= 40 else text[:39] + "…"
    return repr(cut) if isinstance(value, str) else cut


# -- the grammar's own errors --------------------------------------------------------------------------------------

_SLIPS = {
    "=": "write == for equal",
    "&": "write && or the word and",
    "|": "write || or the word or",
    "'": "close the quotes; a quote inside is written twice",
    '"': "close the quotes; a quote inside is written twice",
    ";": "an expression is one condition",
    "-": "there is no arithmetic and there are no comments",
    "/": "there is no arithmetic and there are no comments",
    "*": "there is no arithmetic and there are no comments",
    "%": "put patterns in quotes, after like",
}
_EXPECTED = {
    "COMPARATOR": "a comparison", "IN": "in", "LIKE": "like", "BETWEEN": "between", "IS": "is", "NULL": "null",
    "AND_WORD": "and", "OR_WORD": "or", "NAME": "a column", "NUMBER": "a number", "STRING": "text in quotes",
    "RPAR": ")", "RSQB": "]", "LSQB": "[", "$END": "the end",
}  # fmt: skip


# As in the grammar.
_STRING = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")


@lru_cache(maxsize=1)
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def _parsed(text: str) -> Any:
    from lark import UnexpectedCharacters, UnexpectedToken

    _check_nesting(text)
    try:
        return _parser().parse(text).children[0]
    except UnexpectedCharacters as error:
        position = int(error.pos_in_stream or 0) + 1
        found = text[position - 1]
        raise ExpressionError(
            f"unexpected {_shown(found)}",
            remedy=_SLIPS.get(found, "see docs/cohorts.md for what an expression may hold"),
            position=position,
        ) from None
    except UnexpectedToken as error:
        raise _unexpected(error, text) from None


def _unexpected(error: Any, text: str) -> ExpressionError:
    token = error.token
    expected = [_EXPECTED[name] for name in sorted(error.expected) if name in _EXPECTED]
    remedy = f"here may stand {', '.join(expected)}" if expected else "take it out"
    if token.type == "$END":
        return ExpressionError("the expression ends too early", remedy=remedy, position=len(text) + 1)
    if token.type == "NULL":
        remedy = "write `is null` or `is not null`"
    return ExpressionError(
        f"unexpected {_shown(str(token))}", remedy=remedy, position=int(token.start_pos) + 1
    )


def _check_nesting(text: str) -> None:
    """Parentheses deeper than anybody writes would exhaust the stack of whoever walks the tree."""
    depth = 0
    bare = _STRING.sub(lambda found: " " * len(found[0]), text)
    for position, character in enumerate(bare, start=1):
        depth += (character == "(") - (character == ")")
        if depth > MAX_NESTING:
            raise ExpressionError(
                f"more than {MAX_NESTING} parentheses are open",
                remedy="write it with fewer",
                position=position,
            )
