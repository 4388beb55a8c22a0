"""INFO as typed JSON, one text for each ALT allele.

The header's Number decides what an allele gets of a value, its Type how the value is written. Values that are
no numbers by JSON's grammar but are by VCF's are written as Python prints them; nothing is ever dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

InfoReason = Literal["info_wrong_count", "info_wrong_type", "undeclared_info", "info_repeated_key"]

_TO_ESCAPE = re.compile(r'[\x00-\x1f"\\]')
_JSON_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# PostgreSQL's numeric ends near 10^131072: exponents of more than four digits stay text.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_LONGEST_NUMBER = 400
_MISSING = frozenset({".", ""})


class FieldDefinition(NamedTuple):
    """An INFO or FORMAT field as the header declares it."""

    number: str
    type: str
    description: str = ""


def json_string(text: str) -> str:
    r"""A text as a JSON string, all but the characters that JSON forbids as they are.

    >>> print(json_string('say "é"'))
    "say \"é\""
    """
    if _TO_ESCAPE.search(text) is None:
        return f'"{text}"'
    return '"' + _TO_ESCAPE.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else f"\\u{ord(character):04x}"


def json_integer(value: str) -> str | None:
    """An Integer as a JSON number, `null` where it is not finite, None where it is none.

    >>> json_integer("7"), json_integer("+07"), json_integer("nan"), json_integer("1.5")
    ('7', '7', 'null', None)
    """
    if len(value) > _LONGEST_NUMBER:
        return None
    if _JSON_INTEGER.fullmatch(value):
        return value
    if _INTEGER.fullmatch(value):
        return str(int(value))
    return "null" if _NOT_FINITE.fullmatch(value) else None


def json_float(value: str) -> str | None:
    """A Float as a JSON number, `null` where it is not finite, None where it is none.

    >>> [json_float(text) for text in ("1e-5", ".5", "1.", "+5", "-inf", "x")]
    ['1e-5', '0.5', '1.0', '5', 'null', None]
    """
    if len(value) > _LONGEST_NUMBER:
        return None
    if _JSON_NUMBER.fullmatch(value):
        return value
    if _INTEGER.fullmatch(value):
        return str(int(value))
    if _NUMBER.fullmatch(value):
        number = float(value)
        return repr(number) if abs(number) != float("inf") else "null"
    return "null" if _NOT_FINITE.fullmatch(value) else None


class InfoWriter:
    """Writes the INFO of a file's records as JSON.

    Args:
        definitions: the header's INFO fields.
        left_out: keys that have a place of their own in the row.
        note: is told each oddity that was tolerated.
        declared_only: whether keys without a definition are passed over.
    """

    def __init__(
        self,
        definitions: Mapping[str, FieldDefinition],
        left_out: Iterable[str],
        note: Callable[[InfoReason], None],
        *,
        declared_only: bool = False,
    ) -> None:
        self._declared_only = declared_only
        self._definitions = definitions
        self._left_out = frozenset(left_out)
        self._note = note
        self._prefixes: dict[str, str] = {}

    def split(self, text: str) -> dict[str, str | None]:
        """Keys and values in file order; the first of a repeated key counts. None: a key without `=`."""
        values: dict[str, str | None] = {}
        if text in _MISSING:
            return values
        for item in text.split(";"):
            key, equals, value = item.partition("=")
            if not item or item == "." or (self._declared_only and key not in self._definitions):
                continue
            if key in values:
                self._note("info_repeated_key")
                continue
            values[key] = value if equals else None
        return values

    def members(self, values: Mapping[str, str | None], alts: int) -> list[list[str]]:
        """The JSON members (`"key":value`) of each ALT allele, in file order.

        Args:
            values: as `split` gives them.
            alts: how many ALT alleles the record has.
        """
        rows: list[list[str]] = [[] for _ in range(alts)]
        for key, value in values.items():
            if key in self._left_out:
                continue
            prefix = self._prefixes.get(key)
            if prefix is None:
                prefix = self._prefixes[key] = json_string(key) + ":"
            written = self._write(key, value, alts)
            if isinstance(written, str):
                for row in rows:
                    row.append(prefix + written)
            else:
                for row, own in zip(rows, written, strict=True):
                    row.append(prefix + own)
        return rows

    def _write(self, key: str, value: str | None, alts: int) -> str | list[str]:
        """One JSON text for all ALT alleles, or one for each."""
        definition = self._definitions.get(key)
        if definition is None:
            self._note("undeclared_info")
        if value is None:
            return "true"
        if value in _MISSING:
            return "null"
        if definition is None or definition.type == "Flag" or definition.number == "0":
            return json_string(value)
        if definition.number == "1":
            return self._typed([value], definition.type)[0]
        items = self._typed(value.split(","), definition.type)
        return self._share_out(items, definition.number, alts)

    def _typed(self, items: list[str], field_type: str) -> list[str]:
        if field_type == "Integer":
            write = json_integer
        elif field_type == "Float":
            write = json_float
        else:
            return ["null" if item in _MISSING else json_string(item) for item in items]
        written = ["null" if item in _MISSING else write(item) for item in items]
        if None in written:
            self._note("info_wrong_type")
        return [
            json_string(item) if text is None else text for item, text in zip(items, written, strict=True)
        ]

    def _share_out(self, items: list[str], number: str, alts: int) -> str | list[str]:
        expected = {"A": alts, "R": alts + 1, "G": (alts + 1) * (alts + 2) // 2}.get(number)
        if expected is None:
            return _json_list(items)
        if len(items) != expected:
            self._note("info_wrong_count")
            return _json_list(items)
        if number == "A":
            return items
        if number == "R":
            return [_json_list([items[0], item]) for item in items[1:]]
        return [
            _json_list([items[0], items[_genotype(0, alt)], items[_genotype(alt, alt)]])
            for alt in range(1, alts + 1)
        ]


def _json_list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


def _genotype(lower: int, upper: int) -> int:
    """Place of the diploid genotype lower/upper in a Number=G list (VCF 4.3, section 1.6.2).

    >>> [_genotype(a, b) for a, b in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))]
    [0, 1, 2, 3, 4, 5]
    """
    return upper * (upper + 1) // 2 + lower


def value_of_allele(value: str | None, alt: int, alts: int) -> str | None:
    """What ALT number `alt` (from 0) has of a comma list: its own value, the only one, or none.

    >>> value_of_allele("0.1,0.2", 1, 2), value_of_allele("0.1", 1, 2), value_of_allele("1,2,3", 0, 2)
    ('0.2', '0.1', None)
    """
    if value is None:
        return None
    if "," not in value:
        return value
    items = value.split(",")
    return items[alt] if len(items) == alts else None


def finite_float(value: str | None) -> float | None:
    """A finite number of single precision; None for anything else.

    >>> finite_float("0.25"), finite_float("."), finite_float("nan"), finite_float("1e300")
    (0.25, None, None, None)
    """
    if value is None or _FLOAT.fullmatch(value) is None:
        return None
    number = float(value)
    return number if abs(number) < _FLOAT32_OVERFLOW else None


def is_number(value: str) -> bool:
    """Whether a text is a number as VCF writes them, NaN and infinities included."""
    return _FLOAT.fullmatch(value) is not None or _NOT_FINITE.fullmatch(value) is not None


_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# The least double that rounds to infinity in single precision: 2^128 - 2^103.
_FLOAT32_OVERFLOW = 2.0**128 - 2.0**103
