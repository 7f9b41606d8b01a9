"""What a plugin's README must say: the table of keys, made from its Config, and a session that can be started."""

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from fedk.catalogue.fields import config_of_fields
from fedk.catalogue.key import keys


def key_table(config: type[Any] | Mapping[str, Any]) -> str:
    """Markdown: a row for each key of a Config, or field of a codec: its default, what is allowed, what it means."""
    if is_dataclass(config) and isinstance(config, type):
        config = config_of_fields(config)
    rows = [f"| `{key.name}` | {_code(key.default)} | {_code(key.allowed)} | {key.meaning} |" for key in keys(config)]
    return "\n".join(["| key | default | allowed | meaning |", "|---|---|---|---|", *rows])


def session(readme: Path) -> str:
    """The README's first block of TOML."""
    found = re.search(r"```toml\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    assert found, f"{readme} has no ```toml block: show a session file that uses the plugin"
    return found[1]


def _code(text: str) -> str:
    """Values as code; a bar would end the cell."""
    return " or ".join(f"`{part}`" for part in text.split(" | "))
