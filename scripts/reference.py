"""Writes the tables of docs/ that the code knows: keys of fedk.toml, rules of a session, commands.

`python scripts/reference.py` rewrites what stands between the markers; with --check it only says which page is stale.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
from pydantic import BaseModel

from fedk.api.toml import toml
from fedk.catalogue.key import Key, keys
from fedk.cli import fedk
from fedk.rounds.rules import Rules
from fedk.settings import Settings
from fedk.settings.settings import sections
from fedk_client.cli import fedk_client

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"(<!-- reference: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """A table for each section of fedk.toml."""
    written = Settings().model_dump(mode="json")  # sizes as people write them
    parts = []
    for name, model in sections():
        rows = [replace(key, default=toml(written[name][key.name])) for key in keys(model)]
        parts.append(f"## [{name}]\n\n{key_table(rows)}")
    return "\n\n".join(parts)


def rules() -> str:
    """One table for the keys of a session file that stand alone, one for each of its tables."""
    tables = {field.alias or name: field.annotation for name, field in Rules.model_fields.items()}
    inner = {name: kind for name, kind in tables.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    alone = key_table([key for key in keys(Rules) if key.name not in inner])
    return "\n\n".join([alone, *(f"### [{name}]\n\n{key_table(keys(model))}" for name, model in inner.items())])


def key_table(rows: Iterable[Key]) -> str:
    """As in the plugins' READMEs, but that values alone are code."""
    return table(
        ("key", "default", "allowed", "meaning"),
        ((f"`{key.name}`", f"`{key.default}`" if key.default != "–" else "", key.allowed, key.meaning) for key in rows),
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, where a bar ends a cell."""
    lines = ["|".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"|{line}|" for line in ["|".join(head), "|".join("---" for _ in head), *lines])


def commands() -> str:
    """A row for each verb."""
    found = [verb for name, root in (("fedk", fedk), ("fedk-client", fedk_client)) for verb in verbs(root, name)]
    return table(("command", "does"), ((f"`{usage}`", says) for usage, says in found))


def verbs(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Each verb below `command` as it is typed, with its first sentence."""
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from verbs(inner, f"{path} {name}")
        return
    arguments = [one.make_metavar(context) for one in command.params if isinstance(one, click.Argument)]
    first = (command.help or "").partition("\n\n")[0]
    yield " ".join([path, *arguments]), " ".join(first.split())


TABLES: dict[str, Callable[[], str]] = {"settings": settings, "rules": rules, "commands": commands}


def renewed(text: str) -> str:
    """The page with every marked table as the code has it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> int:
    pages = {page: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}
    stale = {page: new for page, text in pages.items() if (new := renewed(text)) != text}
    if "--check" in sys.argv:
        for page in stale:
            print(f"{page.name} is stale: python scripts/reference.py")
        return 1 if stale else 0
    for page, text in stale.items():
        page.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
