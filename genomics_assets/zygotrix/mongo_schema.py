"""The `$jsonSchema` of a model: what a real MongoDB enforces on every writer, the Zygotrix application included.

MongoDB reads JSON Schema draft 4 with BSON's types and without references, defaults and formats
(https://www.mongodb.com/docs/manual/reference/operator/query/jsonSchema/). What a model checks beyond single fields,
such as parallel lists, only code can check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_BSON_TYPES: Mapping[str, str | list[str]] = {
    "string": "string",
    "integer": ["int", "long"],
    "number": ["double", "int", "long"],
    "boolean": "bool",
    "object": "object",
    "array": "array",
    "null": "null",
}
_KEPT = (
    "bsonType",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
)


def mongo_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The `$jsonSchema` for documents of a model, as they are stored.

    >>> from pydantic import Field
    >>> class Dose(BaseModel):
    ...     mg: float = Field(ge=0)
    >>> mongo_schema(Dose)["properties"]
    {'mg': {'minimum': 0, 'bsonType': ['double', 'int', 'long']}}
    """
    schema = model.model_json_schema(by_alias=True, mode="serialization")
    return _converted(schema, schema.get("$defs", {}))


def _converted(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _converted(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return _any_of([_converted(choice, definitions) for choice in schema["anyOf"]])
    made: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
    if "type" in schema:
        made["bsonType"] = _BSON_TYPES[schema["type"]]
    if "const" in schema:
        made["enum"] = [schema["const"]]
    for bound, side in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:
            # A number since draft 6; in draft 4 a word beside the bound.
            made[side], made[bound] = schema[bound], True
    if "properties" in schema:
        made["properties"] = {name: _converted(p, definitions) for name, p in schema["properties"].items()}
        required = [
            name for name in schema.get("required", ()) if "default" not in schema["properties"][name]
        ]
        if required:
            made["required"] = required
    if isinstance(values := schema.get("additionalProperties"), Mapping) and values:
        made["additionalProperties"] = _converted(values, definitions)
    if isinstance(items := schema.get("items"), Mapping) and items:
        made["items"] = _converted(items, definitions)
    return made


def _any_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema for several, without `anyOf` where only null was added to another."""
    others = [choice for choice in choices if choice != {"bsonType": "null"}]
    if len(others) == 1 and len(choices) == 2 and "bsonType" in others[0]:
        [one] = others
        types = one["bsonType"] if isinstance(one["bsonType"], list) else [one["bsonType"]]
        words = {"enum": [*one["enum"], None]} if "enum" in one else {}
        return {**one, "bsonType": [*types, "null"], **words}
    return {"anyOf": choices}
