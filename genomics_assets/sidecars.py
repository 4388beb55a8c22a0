"""Sidecars: small YAML files that lie beside a dropped file and say how it is to be taken.

A domain states its keys as a frozen dataclass; `read_sidecar` fills it and refuses everything else with the
line. A field may be `str`, `int`, `float`, `bool`, `Literal[...]`, a list or tuple of one of these, a dict
with text keys, another dataclass, or any of them `| None`; `field(metadata={"max_length": 20})` limits text,
`"personal": True` keeps the value out of errors.
"""

from __future__ import annotations

import datetime
import difflib
import math
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from genomics_assets.input_error import InputError

T = TypeVar("T")

MAX_BYTES = 1 << 20
DEEPEST_NEST = 100
# YAML 1.1 wants a point in a number with an exponent: 1e-6 is text to it, and a number to everyone else.
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NULL = "tag:yaml.org,2002:null"
_AS_YAML = "write it as `key: value` lines"
_KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    tuple: "a list",
    datetime.date: "a date",
    datetime.datetime: "a date",
    types.NoneType: "nothing",
    dict: "a mapping",
}


class _Loader(yaml.SafeLoader):
    """Refuses nests that no sidecar has, at once: the scanner's time grows with the square of their depth."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 - PyYAML's name
        if self.flow_level >= DEEPEST_NEST:
            raise InputError("nested too deeply", remedy=_AS_YAML, line=self.line + 1)
        super().fetch_flow_collection_start(TokenClass)


def read_sidecar(path: Path, kind: type[T]) -> T:
    """Read a sidecar into the dataclass `kind`; an empty file is one without keys.

    Raises:
        InputError: with file and line where there is one: not YAML, not a mapping, an unknown or repeated
            key, a value of another type, a required key that is not there.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"a sidecar of {path.stat().st_size:,} bytes, {MAX_BYTES:,} are the limit",
            remedy="drop data under an ending of its own",
            file=path.name,
        )
    try:
        return parse_sidecar(path.read_bytes(), kind)
    except InputError as error:
        raise error.in_file(path.name) from None


def parse_sidecar(text: str | bytes, kind: type[T]) -> T:
    r"""Read the text of a sidecar; see `read_sidecar`.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Dose:
    ...     unit: str
    ...     levels: list[float]
    >>> parse_sidecar("unit: mg/kg\nlevels: [0, 1.5, 1e2]", Dose)
    Dose(unit='mg/kg', levels=[0.0, 1.5, 100.0])
    >>> parse_sidecar("unit: mg/kg\nlevel: [0]", Dose)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    genomics_assets.input_error.InputError: line 2: unknown key 'level'. Remedy: write 'levels'; ...
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None or node.tag == _NULL:
            node = yaml.MappingNode("tag:yaml.org,2002:map", [])
        return _dataclass(loader, node, kind, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise InputError(f"not YAML: {error.problem or error.context}", remedy=_AS_YAML, line=line) from None
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}", remedy=_AS_YAML) from None
    except RecursionError:
        raise InputError("nested too deeply", remedy=_AS_YAML) from None


def _dataclass(loader: yaml.SafeLoader, node: yaml.Node, kind: type[T], where: str) -> T:
    known = {f.name: f for f in fields(cast(Any, kind))}
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, key_node, value_node in _items(loader, node, where):
        if key not in known:
            raise _unknown_key(_path(where, key), key, sorted(known), key_node)
        try:
            value = _value(loader, value_node, hints[key], _path(where, key))
        except InputError as error:
            if not known[key].metadata.get("personal") or not _tells_value(error, value_node):
                raise
            remedy = f'put it in quotes: {_path(where, key)}: "…"'
            raise _error(f"{_path(where, key)} is no text to YAML", remedy, value_node) from None
        limit = known[key].metadata.get("max_length")
        if limit is not None and isinstance(value, str) and len(value) > limit:
            raise _error(
                f"{_path(where, key)} has {len(value)} characters, {limit} are the limit",
                "shorten it",
                value_node,
            )
        values[key] = value
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(
                f"no {_path(where, name)}",
                remedy=f"add `{name}: ...`, {_kind(hints[name])}",
                line=_line(node),
            )
    return kind(**values)


def _items(
    loader: yaml.SafeLoader, node: yaml.Node, where: str
) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Keys with the nodes of key and value; each key is text and comes once."""
    if not isinstance(node, yaml.MappingNode):
        raise _error(f"{where or 'the file'} is not a mapping", _AS_YAML, node)
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = _plain(loader, key_node)
        if not isinstance(key, str):
            raise _error(f"the key {_shown(key_node)} is not text", "put it in quotes", key_node)
        if key in lines:
            raise _error(f"{_path(where, key)} is also on line {lines[key]}", "keep one of the two", key_node)
        lines[key] = _line(key_node) or 0
        yield key, key_node, value_node


def _value(loader: yaml.SafeLoader, node: yaml.Node, hint: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional(loader, node, args, where)
    if node.tag == _NULL and hint is not Any:
        raise _error(f"{where} has no value", "give it one or remove the line", node)
    if origin is Literal:
        return _choice(loader, node, args, where)
    if origin in (list, tuple):
        if not isinstance(node, yaml.SequenceNode):
            raise _error(f"{where} is {_shown(node)}, not a list", f"write it as `{where}: [one, two]`", node)
        return origin(_value(loader, item, args[0], f"{where}[{i}]") for i, item in enumerate(node.value))
    if origin is dict:
        items = _items(loader, node, where)
        return {key: _value(loader, value, args[1], _path(where, key)) for key, _, value in items}
    if is_dataclass(hint):
        return _dataclass(loader, node, cast(type[Any], hint), where)
    return _scalar(loader, node, hint, where)


def _optional(loader: yaml.SafeLoader, node: yaml.Node, hints: Sequence[Any], where: str) -> Any:
    if node.tag == _NULL and types.NoneType in hints:
        return None
    refused: InputError | None = None
    for hint in hints:
        if hint is types.NoneType:
            continue
        try:
            return _value(loader, node, hint, where)
        except InputError as error:
            refused = error
    assert refused is not None  # noqa: S101 - a union has a member that is not None
    raise refused


def _choice(loader: yaml.SafeLoader, node: yaml.Node, choices: Sequence[Any], where: str) -> Any:
    value = _plain(loader, node)
    # True == 1 in Python, not in YAML.
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    words = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(value), words, 1)
    remedy = f"write {near[0]!r}; " if near else ""
    raise _error(f"{where} is {_shown(node)}", f"{remedy}the choices are {', '.join(words)}", node)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, hint: Any, where: str) -> Any:
    value = _plain(loader, node)
    if hint is Any:
        return value
    unquoted = isinstance(node, yaml.ScalarNode) and node.style is None
    if hint is float and isinstance(value, str) and unquoted and _FLOAT.fullmatch(value):
        value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        remedy = f"write {_kind(hint)}"
        if hint is str and isinstance(node, yaml.ScalarNode):
            remedy = f'put it in quotes: {where}: "{node.value}"'
        raise _error(f"{where} is {_shown(node)}, {_kind(type(value))} to YAML", remedy, node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _error(f"{where} is {_shown(node)}", "write a finite number", node)
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        problem = "holds a NUL character" if value.strip() else "is empty"
        raise _error(f"{where} {problem}", "give it a value or remove the line", node)
    return value


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, TypeError, OverflowError):
        raise _error(f"{_shown(node)} cannot be read", "put it in quotes", node) from None


def _unknown_key(where: str, key: str, known: Sequence[str], node: yaml.Node) -> InputError:
    near = difflib.get_close_matches(key, known, 1) or difflib.get_close_matches(key.lower(), known, 1)
    remedy = f"write {near[0]!r}; " if near else ""
    return _error(f"unknown key {where!r}", f"{remedy}the keys are {', '.join(known)}", node)


def _kind(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _kind(next(arg for arg in get_args(hint) if arg is not types.NoneType))
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    return "a mapping" if is_dataclass(hint) else _KINDS.get(origin or hint, "a value of another kind")


def _tells_value(error: InputError, node: yaml.Node) -> bool:
    value = str(node.value).strip()
    return bool(value) and value in str(error)


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        text = str(node.value)
        return repr(text if len(text) <= 40 else text[:39] + "…")
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _line(node: yaml.Node) -> int | None:
    return None if node.start_mark is None else node.start_mark.line + 1


def _error(problem: str, remedy: str, node: yaml.Node) -> InputError:
    return InputError(problem, remedy=remedy, line=_line(node))
