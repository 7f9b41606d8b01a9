"""`--set KEY=VALUE`: a rule of a session (round.quorum=0.8), or a setting for its clients (epochs=2)."""

from typing import Any

import click

from fedk.api.toml import parsed


class Assignment(click.ParamType[tuple[str, Any]]):
    """(key, value). The value as `parsed` reads it."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            self.fail(f'"{value}" wants KEY=VALUE, for example round.quorum=0.8 or epochs=2', param, ctx)
        return key.strip(), parsed(text.strip())
