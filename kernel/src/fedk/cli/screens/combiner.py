"""Screens about combiners."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedk.cli import quantity
from fedk.cli.screens.table import facts, table

Document = Mapping[str, Any]


def listed(found: Sequence[Document], flags: str) -> Iterator[str]:
    """All combiners."""
    if not found:
        yield "no combiners: clients are served here (role = combiner makes one: docs/operations.md)"
        return
    header = ("name", "state", "clients", "of", "holds", "bytes", "load", "folded", "at")
    lines = [_line(one, depth) for one, depth in _depths(found)]
    yield from table(header, lines, right=("clients", "of", "holds", "bytes", "load", "folded"))
    live = sum(one["state"] == "live" for one in found)
    yield f"{quantity.counted(len(found), 'combiner')}, {live} live: fedk combiner show {found[0]['name']}{flags}"


def _depths(found: Sequence[Document]) -> Iterator[tuple[Document, int]]:
    """Each with how many combiners it is below; a combiner stands before those below it."""
    depths = dict[str, int]()
    for one in found:
        depths[one["name"]] = depths.get(one["parent"], -1) + 1
        yield one, depths[one["name"]]


def _line(one: Document, depth: int) -> tuple[str, ...]:
    return (
        "  " * depth + one["name"],
        one["state"] if one["state"] != "lost" else f"lost {quantity.ago(one['last_seen'])}",
        f"{one['clients']:,}",
        f"{one['capacity']:,}" if one["capacity"] else "–",
        f"{one['held']:,}",
        quantity.size(one["held_bytes"]),
        f"{one['load']:.0%}" if one["load"] is not None else "–",
        f"{one['fold_seconds']:.1f} s" if one["fold_seconds"] is not None else "–",
        " ".join(one["advertise"]),
    )


def shown(one: Document) -> list[str]:
    """One combiner, with its clients."""
    rows = [
        ("clients", ", ".join(one["members"]) or "–" if one["members"] is not None else f"{one['clients']:,}"),
        ("below", one["parent"] or "–"),
        ("capacity", f"{one['capacity']:,}" if one["capacity"] else "no limit"),
        ("holds", f"{one['held']:,} results, {quantity.size(one['held_bytes'])}"),
        ("load", f"{one['load']:.0%}" if one["load"] is not None else "–"),
        ("folded", f"{one['fold_seconds']:.1f} s" if one["fold_seconds"] is not None else "–"),
        ("at", " ".join(one["advertise"])),
        ("attributes", " ".join(f"{key}={value}" for key, value in one["attributes"].items()) or "–"),
        ("holder", one["id"]),
    ]
    return [f"{one['name']}   {one['state']}", *facts(rows)]
