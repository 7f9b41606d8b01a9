"""Mistakes in settings: what stands there, and what is allowed, in words of the person who wrote it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from fedk.api.suggestion import did_you_mean
from fedk.api.toml import toml, toml_key

SECRET = "…"  # noqa: S105  # what is printed in a secret's place

MOST = 100
"""Mistakes that are told at once: to look for what was meant takes 0.3 ms each, and nobody reads more."""

_LONGEST = 60  # characters of a wrong value that a message shows

_WANTS = {
    "bool_parsing": "wants true or false",
    "bool_type": "wants true or false",
    "dict_type": "wants a table",
    "finite_number": "wants a finite number",
    "float_parsing": "wants a number",
    "float_type": "wants a number",
    "int_from_float": "wants a whole number",
    "int_parsing": "wants a whole number",
    "int_type": "wants a whole number",
    "list_type": 'wants a list, for example ["a", "b"]',
    "missing": "is needed",
    "model_type": "wants a table",
    "path_type": "wants a path, in quotes",
    "string_type": "wants text, in quotes",
    "tuple_type": 'wants a list, for example ["a", "b"]',
}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong key or value."""

    key: tuple[str, ...]  # where: ("limits", "max_exmaples")
    subject: str  # as it stands there: max_exmaples = 100000; "" for no single key
    text: str  # what is allowed, and the next step
    cause: BaseException | None = field(default=None, compare=False, repr=False)  # that --debug shows

    def __str__(self) -> str:
        return f"{self.subject} {self.text}".strip()


def mistake(key: Sequence[str], value: Any, text: str) -> Mistake:
    """A mistake in the value of `key`; a table is shown by its header."""
    name = toml_key(*key)
    if isinstance(value, Mapping):
        return Mistake(tuple(key), f"[{name}]", text)
    return Mistake(tuple(key), f"{name} = {_shortened(toml(value))}", text)


def mistakes(error: ValidationError, model: type[BaseModel], data: Any, prefix: Sequence[str] = ()) -> list[Mistake]:
    """What `model` found wrong in `data`, which stands below the key `prefix`: all, or the first MOST."""
    found: dict[str, Mistake] = {}
    for each in error.errors(include_url=False)[:MOST]:
        one = _mistake(each, model, data, tuple(prefix))
        other = found.get(one.subject)  # of a union: one error for each of its types
        text = f"{other.text} or {one.text.removeprefix('wants ')}" if other else one.text
        found[one.subject] = replace(one, text=text)
    return list(found.values())


def _mistake(found: Mapping[str, Any], model: type[BaseModel], data: Any, prefix: tuple[str, ...]) -> Mistake:
    inside, value = _place(found["loc"], data)
    key = (*prefix, *inside)
    if not key:
        return Mistake((), "", _allowed(found))
    if found["type"] == "missing":
        return Mistake(key, toml_key(*key), "is needed" + _meaning(model, inside))
    if found["type"] == "extra_forbidden":
        return mistake(key, value, "is not a key here." + _meant(model, inside, prefix))
    shown = SECRET if _is_secret(model, inside) else value
    if found["type"] == "string_pattern_mismatch" and (meaning := _meaning(model, inside)):
        return mistake(key, shown, f"is not allowed{meaning}")  # words, not the expression
    return mistake(key, shown, _allowed(found))


def _place(loc: Iterable[int | str], data: Any) -> tuple[tuple[str, ...], Any]:
    """The key and its value; pydantic's places also name branches of unions, which stand in no file."""
    key: list[str] = []
    for part in loc:
        if isinstance(data, Mapping) and isinstance(part, str):
            key.append(part)
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
    return tuple(key), data


def _allowed(found: Mapping[str, Any]) -> str:
    context: Mapping[str, Any] = found.get("ctx", {})
    bounds = [f"{sign} {toml(context[name]).removesuffix('.0')}" for name, sign in _BOUNDS.items() if name in context]
    if found["type"] == "value_error":
        return str(context["error"])
    if found["type"] in ("literal_error", "enum"):
        return "wants " + str(context["expected"]).replace("'", '"')
    if bounds:
        return f"must be {' and '.join(bounds)}"
    message = str(found["msg"])
    return _WANTS.get(found["type"], message[:1].lower() + message[1:])


def _meaning(model: type[BaseModel], key: Sequence[str]) -> str:
    field = _fields(_table(model, key[:-1])).get(key[-1])
    return f": {field.description}" if field is not None and field.description else ""


def _meant(model: type[BaseModel], key: tuple[str, ...], prefix: tuple[str, ...]) -> str:
    """The table that has this very key, else the nearest key of the same table, else all that this one has."""
    *above, name = key
    elsewhere = [leaf for leaf in _leaves(model) if leaf[-1] == name]
    if elsewhere:
        return f" Did you mean {toml_key(*prefix, *elsewhere[0])}?"
    here = _fields(_table(model, above))
    near = did_you_mean(name, here, ".".join([*prefix, *above, "{}"]))
    return near or (f" There are: {', '.join(here)}." if here else " There are none.")


def _table(model: type[BaseModel], key: Iterable[str]) -> type[BaseModel] | None:
    table: type[BaseModel] | None = model
    for part in key:
        field = _fields(table).get(part)
        annotation = field.annotation if field is not None else None
        table = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return table


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()} if model is not None else {}


def _leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in _fields(model):
        inner = _table(model, [name])
        if inner is None:
            yield (*above, name)
        else:
            yield from _leaves(inner, (*above, name))


def _is_secret(model: type[BaseModel], key: Sequence[str]) -> bool:
    field = _fields(_table(model, key[:-1])).get(key[-1]) if key else None
    return field is not None and "Secret" in str(field.annotation)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
