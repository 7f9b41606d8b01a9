"""The table of keys in a plugin's README, made from its Config: a test compares the two."""

from pydantic import BaseModel

from fedk.catalogue.key import keys


def key_table(config: type[BaseModel]) -> str:
    """Markdown: a row for each key, with its default, what is allowed and what it means."""
    rows = [f"| `{key.name}` | {_code(key.default)} | {_code(key.allowed)} | {key.meaning} |" for key in keys(config)]
    return "\n".join(["| key | default | allowed | meaning |", "|---|---|---|---|", *rows])


def _code(text: str) -> str:
    """Values as code; a bar would end the cell."""
    return " or ".join(f"`{part}`" for part in text.split(" | "))
