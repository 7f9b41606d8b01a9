"""The keys of a driver's settings, as tables show them: from the schema, which is their only source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from fedk.api.toml import toml

_TYPES = {
    "array": "a list",
    "boolean": "true | false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a table",
    "string": "text",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One row of a key table."""

    name: str
    default: str
    allowed: str
    meaning: str


def keys(config: type[BaseModel] | Mapping[str, Any]) -> list[Key]:
    """The keys of a settings model, or of its JSON schema, in the author's order."""
    schema = config.model_json_schema() if isinstance(config, type) else config
    return [_key(name, field, schema) for name, field in schema.get("properties", {}).items()]


def _key(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> Key:
    needed = name in schema.get("required", ())
    default = "(needed)" if needed else toml(field["default"]) if field.get("default") is not None else "–"
    return Key(name, default, _allowed(field, schema.get("$defs", {})), field.get("description", ""))


def _allowed(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _allowed(defs[field["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in field:
        branches = [_allowed(one, defs) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(branches))
    if "enum" in field or "const" in field:
        return " | ".join(toml(choice) for choice in field.get("enum", [field.get("const")]))
    return _bounds(field) or _TYPES.get(field.get("type", ""), "any")


def _bounds(field: Mapping[str, Any]) -> str:
    low = _bound(field, "minimum", "≥", "exclusiveMinimum", ">")
    high = _bound(field, "maximum", "≤", "exclusiveMaximum", "<")
    if low and high:
        return f"{low.removeprefix('≥ ')} … {high.removeprefix('≤ ')}"
    return low or high


def _bound(field: Mapping[str, Any], closed: str, sign: str, open_: str, strict: str) -> str:
    if closed in field:
        return f"{sign} {field[closed]:g}"
    return f"{strict} {field[open_]:g}" if open_ in field else ""
