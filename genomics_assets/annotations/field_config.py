"""What a source's `fields.json` says: which of its fields become which columns, of which type.

The file is echtvar's list (https://github.com/brentp/echtvar): `field` and `alias`, with `missing_value`,
`missing_string`, `description` and `multiplier` accepted; `type` and `fills` are ours. Ready-made lists for well-known
sources lie in `ready_made/`. Names come from outside: all of them are checked here, before any SQL is made of them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast, get_args

from genomics_assets.input_error import InputError

SqlType = Literal["integer", "bigint", "real", "double precision", "text", "boolean"]
Origin = Literal["info", "filter", "id", "qual"]
SeedColumn = Literal[
    "rs_id", "af_gnomad", "af_gnomad_popmax", "af_1kg", "cadd_phred", "clinvar_sig", "clinvar_review"
]

FIELDS_FILE = "fields.json"
SEED_COLUMNS: tuple[SeedColumn, ...] = get_args(SeedColumn)
# Types of genomics.variants, and how long a text may be.
SEED_TYPES: dict[str, str] = {
    "rs_id": "text", "af_gnomad": "real", "af_gnomad_popmax": "real", "af_1kg": "real", "cadd_phred": "real",
    "clinvar_sig": "text", "clinvar_review": "text",
}  # fmt: skip
SEED_WIDTHS = {"clinvar_sig": 100, "clinvar_review": 50}
# `anno_` and the name make a name of PostgreSQL's, which ends at 63 bytes.
LONGEST_SOURCE_NAME = 58
MOST_FIELDS = 500

_MAX_BYTES = 1 << 20
_SOURCE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_RESERVED = {"chrom", "pos", "ref", "alt", "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"}
_KEYS = ("field", "alias", "type", "missing_value", "missing_string", "multiplier", "description", "fills")
_TYPE_WORDS: dict[str, SqlType] = {
    **{name: name for name in get_args(SqlType)},
    "int": "integer",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "flag": "boolean",
}
_HEADER_TYPES: dict[str, SqlType] = {
    "Integer": "integer",
    "Float": "real",
    "Flag": "boolean",
    "String": "text",
    "Character": "text",
}
_FIXED: dict[str, tuple[Origin, SqlType]] = {
    "FILTER": ("filter", "text"),
    "ID": ("id", "text"),
    "QUAL": ("qual", "real"),
}


@dataclass(frozen=True)
class FieldConfig:
    """One entry of `fields.json`.

    Attributes:
        field: INFO key, `FILTER`, `ID`, `QUAL`, or a table's column.
        alias: the column of `anno_<source>`, in lower case.
        type: its SQL type; None takes the header's.
        missing: stands where a record has no value; None: NULL.
        description: becomes the column's comment.
        fills: the column of `genomics.variants` that takes the value; None: none.
    """

    field: str
    alias: str
    type: SqlType | None = None
    missing: str | int | float | bool | None = None
    description: str = ""
    fills: SeedColumn | None = None


@dataclass(frozen=True)
class SourceField:
    """A field that a file has, with everything that its column needs.

    Attributes:
        origin: where its value stands in a record.
        number: the header's Number.
        declared: the header's Type.
    """

    field: str
    alias: str
    type: SqlType
    origin: Origin = "info"
    number: str = "1"
    declared: str = "String"
    missing: str | int | float | bool | None = None
    description: str = ""
    fills: SeedColumn | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry as the registry keeps it, in `annotation_sources.field_config`."""
        optional = {
            "missing_value": self.missing,
            "description": self.description or None,
            "fills": self.fills,
        }
        kept = {key: value for key, value in optional.items() if value is not None}
        return {"field": self.field, "alias": self.alias, "type": self.type, **kept}


@dataclass(frozen=True)
class ReadyMade:
    """A list of fields that ships with the project.

    Attributes:
        type: the source's type, as the registry names it.
        fields: what is taken of it; of two entries with one alias the first that a file has.
        columns: for tables: which column is chrom, pos, ref and alt, by these names.
    """

    type: str
    fields: tuple[FieldConfig, ...]
    columns: Mapping[str, str]


def check_source_name(name: str) -> str:
    """The name of a source, where it can be part of a table's name.

    Raises:
        InputError: it is empty, too long, or holds anything but lower-case letters, digits and underscores.

    >>> check_source_name("clinvar")
    'clinvar'
    >>> check_source_name("ClinVar")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    genomics_assets.input_error.InputError: the source's name 'ClinVar' has capital letters. Remedy: ...
    """
    if _SOURCE_NAME.fullmatch(name) and len(name) <= LONGEST_SOURCE_NAME:
        return name
    shown = repr(name if len(name) <= 80 else name[:79] + "…")
    if _SOURCE_NAME.fullmatch(name):
        raise InputError(
            f"the source's name {shown} has {len(name)} characters",
            remedy=f"rename its folder to at most {LONGEST_SOURCE_NAME}",
        )
    if _SOURCE_NAME.fullmatch(name.lower()):
        raise InputError(
            f"the source's name {shown} has capital letters", remedy=f"rename its folder to {name.lower()!r}"
        )
    raise InputError(
        f"the source's name {shown} cannot be part of a table's name",
        remedy="rename its folder to lower-case letters, digits and underscores, not beginning with a digit",
    )


def parse_fields(text: str | bytes) -> tuple[FieldConfig, ...]:
    """Read the text of a `fields.json`.

    Raises:
        InputError: not JSON, not a list of entries, an unknown or repeated key, a name that cannot be a column, a
            repeated or reserved column, an unknown type.

    >>> parse_fields('[{"field": "AF", "alias": "af_gnomad", "type": "real"}]')[0].fills
    'af_gnomad'
    """
    entries = _load(text)
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{FIELDS_FILE} is not a list of fields",
            remedy='write it as [{"field": "AF", "alias": "af_gnomad"}]',
        )
    if len(entries) > MOST_FIELDS:
        raise InputError(f"{len(entries):,} fields", remedy=f"choose at most {MOST_FIELDS}")
    configs = tuple(_field(number, entry) for number, entry in enumerate(entries, 1))
    _refuse_repeated(configs)
    return configs


def _load(text: str | bytes) -> Any:
    if len(text) > _MAX_BYTES:
        raise InputError(f"{FIELDS_FILE} has {len(text):,} bytes", remedy=f"{_MAX_BYTES:,} are the limit")
    try:
        return json.loads(text, object_pairs_hook=_once)
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(
            f"{FIELDS_FILE} is not JSON: {error.msg}", remedy="correct it there", line=error.lineno
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{FIELDS_FILE} is not UTF-8", remedy="save it as UTF-8") from None
    except (RecursionError, ValueError):
        raise InputError(f"{FIELDS_FILE} cannot be read as JSON", remedy="write it anew") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = next((key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i])), None)
    if repeated is not None:
        raise InputError(f"{repeated!r} is given twice in one field", remedy="keep one of the two")
    return dict(pairs)


def _field(number: int, entry: Any) -> FieldConfig:
    if not isinstance(entry, dict):
        raise InputError(f"field {number} is not an object", remedy='write it as {"field": …, "alias": …}')
    for key in entry:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            raise InputError(
                f"field {number}: unknown key {_shown(key)}",
                remedy=(f"write {near[0]!r}; " if near else "") + f"the keys are {', '.join(_KEYS)}",
            )
    name = entry.get("field")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"field {number} has no `field`", remedy="name the INFO key or column it comes from")
    alias = _alias(number, entry.get("alias", name))
    return FieldConfig(
        name,
        alias,
        _type(number, entry.get("type")),
        _missing(number, entry),
        _text(number, "description", entry.get("description", "")),
        _fills(number, alias, entry.get("fills")),
    )


def _alias(number: int, alias: Any) -> str:
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        raise InputError(
            f"field {number}: the alias {_shown(alias)} cannot be a column",
            remedy="write letters, digits and underscores, at most 63, not beginning with a digit",
        )
    # As SQL folds names that are not quoted.
    folded = str(alias).lower()
    if folded in _RESERVED:
        raise InputError(
            f"field {number}: the alias {folded!r} is a column that every source has, or a system column",
            remedy="choose another alias",
        )
    return folded


def _type(number: int, word: Any) -> SqlType | None:
    if word is None:
        return None
    found = _TYPE_WORDS.get(word.strip().lower()) if isinstance(word, str) else None
    if found is None:
        raise InputError(
            f"field {number}: unknown type {_shown(word)}",
            remedy=f"the types are {', '.join(get_args(SqlType))}",
        )
    return found


def _missing(number: int, entry: Mapping[str, Any]) -> str | int | float | bool | None:
    value = entry.get("missing_string", entry.get("missing_value"))
    if value is not None and not isinstance(value, str | int | float | bool):
        raise InputError(
            f"field {number}: the missing value {_shown(value)} is no single value",
            remedy="write a number or a text",
        )
    return value


def _fills(number: int, alias: str, column: Any) -> SeedColumn | None:
    if column is None:
        return next((name for name in SEED_COLUMNS if name == alias), None)
    if column not in SEED_COLUMNS:
        raise InputError(
            f"field {number}: `fills` is {_shown(column)}",
            remedy=f"the columns of genomics.variants to fill are {', '.join(SEED_COLUMNS)}",
        )
    return cast(SeedColumn, column)


def _text(number: int, key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InputError(f"field {number}: `{key}` is {_shown(value)}", remedy="write a text")
    return value


def _refuse_repeated(configs: Sequence[FieldConfig]) -> None:
    for what in ("alias", "fills"):
        seen: dict[str, int] = {}
        for number, config in enumerate(configs, 1):
            name = getattr(config, what)
            if name is None:
                continue
            if name in seen:
                verb = "have the same column" if what == "alias" else "both fill"
                raise InputError(
                    f"fields {seen[name]} and {number} {verb} {name!r}",
                    remedy="give each an alias of its own" if what == "alias" else "let one of them fill it",
                )
            seen[name] = number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


# -- against a file ----------------------------------------------------------------------------------------------


def resolve(
    configs: Sequence[FieldConfig],
    declared: Mapping[str, tuple[str, str, str]],
    *,
    optional: bool = False,
    what: str = "INFO key",
) -> tuple[SourceField, ...]:
    """The fields with what a file declares of them.

    Args:
        configs: what is asked for.
        declared: Number, Type and Description by name.
        optional: whether fields that the file lacks are left out; of two with one alias the first that is there counts.
        what: what a declared name is, for messages.

    Raises:
        InputError: a field is not there, or a value of its kind cannot be of its type.

    >>> [field] = resolve(parse_fields('[{"field": "AF", "alias": "f"}]'), {"AF": ("A", "Float", "Frequency")})
    >>> field.type, field.number
    ('real', 'A')
    """
    found: dict[str, SourceField] = {}
    for config in configs:
        if config.field in _FIXED and what == "INFO key":
            origin, usual = _FIXED[config.field]
            field = _of_config(config, config.type or usual, origin, "1", "String")
        elif config.field in declared:
            number, kind, description = declared[config.field]
            field = _of_config(config, config.type or _usual(number, kind), "info", number, kind, description)
        elif optional:
            continue
        else:
            raise _missing_field(config.field, declared, what)
        _check_shape(field)
        found.setdefault(field.alias, _checked_missing(field))
    if not found:
        names = ", ".join(config.field for config in configs)
        raise InputError(f"the file declares none of {names}", remedy=f"add a {FIELDS_FILE} beside it")
    return tuple(found.values())


def _usual(number: str, kind: str) -> SqlType:
    # A list of no fixed length is no number: it is kept as written.
    return _HEADER_TYPES.get(kind, "text") if number in ("0", "1", "A", "R") else "text"


def _of_config(
    config: FieldConfig, sql_type: SqlType, origin: Origin, number: str, declared: str, description: str = ""
) -> SourceField:
    return SourceField(
        config.field,
        config.alias,
        sql_type,
        origin,
        number,
        declared,
        config.missing,
        config.description or description,
        config.fills,
    )


def _missing_field(name: str, declared: Mapping[str, Any], what: str) -> InputError:
    folded = {key.lower(): key for key in declared}
    near = difflib.get_close_matches(name.lower(), folded, 1)
    hint = f"did you mean {folded[near[0]]!r}? It" if near else "It"
    some = ", ".join(list(declared)[:20]) or "none"
    return InputError(
        f"{FIELDS_FILE} names the {what} {_shown(name)}, which the file does not declare",
        remedy=f"{hint} declares {some}" + (" and more" if len(declared) > 20 else ""),
    )


def _check_shape(field: SourceField) -> None:
    if field.number == "G" and field.type != "text":
        raise InputError(
            f"field {field.field!r} has a value for each genotype, which {field.type} cannot hold",
            remedy='give it the type "text"',
        )
    if field.fills is not None and SEED_TYPES[field.fills] != (
        "real" if field.type in ("integer", "bigint", "double precision") else field.type
    ):
        raise InputError(
            f"field {field.field!r} is {field.type} and fills {field.fills}, which is {SEED_TYPES[field.fills]}",
            remedy=f'give it the type "{SEED_TYPES[field.fills]}"',
        )


def _checked_missing(field: SourceField) -> SourceField:
    value = field.missing
    if value is None:
        return field
    if field.type == "text":
        return replace(field, missing=str(value))
    if field.type == "boolean":
        fits = isinstance(value, bool)
    elif field.type in ("integer", "bigint"):
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise InputError(
            f"the missing value {_shown(value)} of field {field.field!r} is not {field.type}",
            remedy=f"write {field.type}, or another type",
        )
    return field


# -- ready-made --------------------------------------------------------------------------------------------------


def ready_made(source: str) -> ReadyMade | None:
    """The list of fields that ships for a source of this name: `gnomad` serves `gnomad_exomes` too.

    >>> found = ready_made("clinvar"); found.type if found else None
    'ClinVar'
    """
    for name in sorted(_ready_made_names(), key=len, reverse=True):
        if source == name or source.startswith(f"{name}_"):
            return _read_ready_made(name)
    return None


@cache
def _ready_made_names() -> dict[str, str]:
    """Names of sources, and the file that serves each."""
    found: dict[str, str] = {}
    for file in (files(__package__) / "ready_made").iterdir():
        if file.name.endswith(".json"):
            content = json.loads(file.read_text("utf-8"))
            found.update(dict.fromkeys(content["names"], file.name))
    return found


@cache
def _read_ready_made(name: str) -> ReadyMade:
    file = files(__package__) / "ready_made" / _ready_made_names()[name]
    content = json.loads(file.read_text("utf-8"))
    fields = tuple(_field(number, entry) for number, entry in enumerate(content["fields"], 1))
    return ReadyMade(content["type"], fields, content.get("columns", {}))
