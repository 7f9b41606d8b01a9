"""`--set KEY=VALUE`: a rule of a session (round.quorum=0.8), or a setting for its clients (epochs=2)."""

import tomllib
from typing import Any

import click


class Assignment(click.ParamType[tuple[str, Any]]):
    """(key, value). The value is read as TOML writes one; what is none is text, and a date: JSON has none."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            self.fail(f'"{value}" wants KEY=VALUE, for example round.quorum=0.8 or epochs=2', param, ctx)
        return key.strip(), _parsed(text.strip())


def _parsed(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # also: a number of 5,000 digits; a thousand lists in lists
        return text
    value = found["value"]
    return value if len(found) == 1 and isinstance(value, bool | int | float | str | list | dict) else text
