"""Writes the tables of docs/ that the code knows: keys of fedk.toml, rules of a session, commands, contracts, hooks.

`python scripts/reference.py` rewrites what stands between the markers; with --check it only says which page is stale.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name

import click
from pydantic import BaseModel

from fedk.api.aggregator import AnyAggregator, Round, Update
from fedk.api.balancer import ClientView, ServerView
from fedk.api.codec import BlockCodec, Codec
from fedk.api.hooks import SPECIFICATIONS, ClientFacts, Event, ServerFacts, SessionFacts
from fedk.api.toml import toml
from fedk.catalogue import KINDS
from fedk.catalogue.key import Key, keys
from fedk.cli import fedk
from fedk.rounds.rules import Rules
from fedk.settings import Settings
from fedk.settings.settings import sections
from fedk_client.cli import fedk_client

DOCS = Path(__file__).resolve().parent.parent / "docs"
FACTS = (Update, Round, ClientView, ServerView, Event, ServerFacts, SessionFacts, ClientFacts)
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


def plugins() -> str:
    """Each family's contract, then each group of hooks."""
    families = [
        f"## {kind.name}, group `{kind.group}`\n\n{contract(resolve_name(kind.contract))}"
        for kind in KINDS.values()
        if kind.contract is not None
    ]
    hooks = [f"### {group.__name__}\n\n{first(group)}\n\n{functions(group)}" for group in SPECIFICATIONS]
    facts = [f"### {cls.__name__}\n\n{first(cls)}\n\n{fields(cls)}" for cls in FACTS]
    hook = KINDS["hook"]
    return "\n\n".join([*families, f"## {hook.name}, group `{hook.group}`", *hooks, "## What they are given", *facts])


def contract(cls: type) -> str:
    """A base class: what it declares, then its functions; of aggregators each shape."""
    shapes: list[type] = (
        [cls, *sorted(cls.__subclasses__(), key=lambda one: one.__name__)] if cls is AnyAggregator else [cls]
    )
    shapes += [BlockCodec] if cls is Codec else []
    ours = [one for one in shapes if one.__module__.startswith(("fedk.api", "fedk_protocol"))]
    return "\n\n".join(f"### {one.__name__}\n\n{first(one)}\n\n{members(one)}" for one in ours)


def members(cls: type) -> str:
    rows = [(f"`{name} = {default}`", says) for name, default, says in attributes(cls)]
    return "\n\n".join(filter(None, [table(("declares", "says"), rows) if rows else "", functions(cls)]))


def functions(cls: type) -> str:
    """Its public functions, with what each says first; those that must be written are marked."""
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    rows = [
        (f"`{name}{signature(function)}`" + (" (needed)" if name in abstract else ""), first(function))
        for name, function in vars(cls).items()
        if inspect.isfunction(function) and not name.startswith("_")
    ]
    return table(("function", "says"), rows) if rows else ""


def fields(cls: type) -> str:
    """A dataclass's fields with the comments at their lines."""
    lines = inspect.getsource(cls).splitlines()
    found = (re.fullmatch(r"\s+(\w+): ([^#]+?)(?:\s+# (.*))?", line) for line in lines)
    return table(("field", "is"), ((f"`{f[1]}: {f[2]}`", f[3] or "") for f in found if f is not None))


def attributes(cls: type) -> Iterator[tuple[str, str, str]]:
    """What a class declares, with the text under each."""
    body = next(node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
    for node, after in pairwise([*body, ast.Pass()]):
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and not target.id.startswith("_"):
            value = node.value if isinstance(node, ast.AnnAssign | ast.Assign) else None
            text = after.value if isinstance(after, ast.Expr) else None
            says = str(text.value) if isinstance(text, ast.Constant) else ""
            yield target.id, ast.unparse(value) if value is not None else "…", " ".join(says.split())


def signature(function: Callable[..., object]) -> str:
    """Without `self`, types as they are written."""
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return f"({', '.join(names)})"


def first(documented: object) -> str:
    """The first paragraph of its text, in one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings, "rules": rules, "commands": commands, "plugins": plugins,
}  # fmt: skip


def renewed(text: str) -> str:
    """The page with every marked table as the code has it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> int:
    pages = {page: page.read_text("utf-8") for page in sorted(DOCS.rglob("*.md"))}
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
