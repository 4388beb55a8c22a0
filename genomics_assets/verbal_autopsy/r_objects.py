"""R's saved objects (`.rda`, `.rds`) as plain Python: lists, dictionaries and labelled arrays.

`rdata` parses the file; its converter refuses arrays that name only some of their dimensions, which the published
misclassification matrices do, so the few kinds of object that occur there are read from its parse tree here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genomics_assets.input_error import InputError


@dataclass(frozen=True)
class LabelledArray:
    """An array of R with the names along each dimension; None where a dimension has no names."""

    values: np.ndarray
    names: tuple[tuple[str, ...] | None, ...]


def read_r_objects(path: Path) -> dict[str, Any]:
    """The objects of a saved workspace by name: named lists are dictionaries, arrays with dimensions labelled arrays.

    Raises:
        InputError: the file is no R data.
    """
    import rdata

    try:
        # Any error of the parser means the same to a user: these bytes are not what R saved.
        root = rdata.parser.parse_file(path).object
        objects = _pairs(root)
    except Exception as error:  # noqa: BLE001
        raise InputError(
            f"it cannot be read as data saved by R ({type(error).__name__})",
            remedy="save it again with R's save(), or supply the CSV form",
            file=path.name,
        ) from None
    return {name: _plain(value) for name, value in objects.items()}


def _pairs(node: Any) -> dict[str, Any]:
    """A pairlist of R (attributes, a workspace) by tag."""
    found: dict[str, Any] = {}
    while node is not None and _type(node) == "LIST":
        found[_text(node.tag)] = node.value[0]
        node = node.value[1]
    return found


def _plain(node: Any) -> Any:
    kind = _type(node)
    attributes = _pairs(node.attributes) if node.attributes is not None else {}
    if kind == "VEC":
        values = [_plain(item) for item in node.value]
        names = attributes.get("names")
        return values if names is None else dict(zip(_texts(names), values, strict=True))
    if kind == "STR":
        return _shaped(np.array(_texts(node), dtype=object), attributes)
    if kind in ("REAL", "INT", "LGL"):
        if "levels" in attributes:
            levels = np.array(["", *_texts(attributes["levels"])], dtype=object)
            return levels[np.maximum(np.asarray(node.value), 0)]
        return _shaped(np.asarray(node.value), attributes)
    return None


def _shaped(values: np.ndarray, attributes: dict[str, Any]) -> Any:
    if "dim" not in attributes:
        return values
    shape = tuple(int(length) for length in attributes["dim"].value)
    names: list[tuple[str, ...] | None] = [None] * len(shape)
    if "dimnames" in attributes:
        names = [tuple(_texts(n)) if _type(n) == "STR" else None for n in attributes["dimnames"].value]
    return LabelledArray(values.reshape(shape, order="F"), tuple(names))


def _texts(node: Any) -> list[str]:
    return [_text(item) for item in node.value]


def _text(node: Any) -> str:
    """The text of a character or a symbol; references lead to the symbol they stand for."""
    kind = _type(node)
    if kind == "REF":
        return _text(node.referenced_object)
    if kind == "SYM":
        return _text(node.value)
    value = node.value
    return (
        "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    )


def _type(node: Any) -> str:
    return str(node.info.type.name)
