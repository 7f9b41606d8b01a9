"""Screens about clients."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedk.cli import quantity
from fedk.cli.screens.table import facts, table

Document = Mapping[str, Any]


def listed(found: Sequence[Document], flags: str) -> Iterator[str]:
    """All clients."""
    if not found:
        yield "no clients yet: fedk-client run APP --server HOST:PORT --name NAME"
        return
    header = ("name", "state", "doing", "last seen", "examples", "accepted", "refused", "attributes")
    yield from table(header, [_line(one) for one in found], right=("last seen", "examples", "accepted", "refused"))
    connected = sum(one["state"] == "connected" for one in found)
    yield f"{quantity.counted(len(found), 'client')}, {connected} connected: fedk client show {found[0]['name']}{flags}"


def _line(one: Document) -> tuple[str, ...]:
    return (
        one["name"],
        one["state"],
        _doing(one),
        "now" if one["state"] == "connected" else quantity.ago(one["last_seen"]),
        f"{one['examples']:,}" if one["examples"] is not None else "–",
        f"{one['accepted']:,}",
        f"{one['refused']:,}",
        _pairs(one["attributes"]),
    )


def _doing(one: Document) -> str:
    if one["present_for"] is not None:
        return f"(present for {quantity.span(one['present_for'])} more)"
    return ", ".join(_task(task) for task in one["doing"]) or "–"


def _task(task: Document) -> str:
    since = f" {quantity.span(task['seconds'])}" if task["seconds"] is not None else " (queued)"
    return f"{task['kind']} {task['session']}/{task['round']}{since}"


def shown(one: Document) -> list[str]:
    """One client, with how its last tasks ended."""
    rows = [
        ("seen", "now" if one["state"] == "connected" else f"{quantity.ago(one['last_seen'])} ago"),
        ("doing", _doing(one)),
        ("updates", f"{one['accepted']:,} accepted, {one['refused']:,} refused; {one['failed']:,} tasks failed"),
        ("examples", f"{one['examples']:,}" if one["examples"] is not None else "–"),
        ("attributes", _pairs(one["attributes"]) or "–"),
        ("answers", " ".join(one["capabilities"])),
        ("software", one["software"]),
        ("instance", f"{one['instance']}, number {one['generation']} of this name"),
    ]
    tasks = [_ended(task) for task in one["tasks"]]
    listing = table(("task", "kind", "state", "why"), tasks) if tasks else []
    return [f"{one['name']}   {one['state']}", *facts(rows), *listing]


def _ended(task: Document) -> tuple[str, ...]:
    why = ", ".join(filter(None, (task["reason"], task["detail"])))
    return (f"{task['session']}/{task['round']}", task["kind"], task["verdict"] or task["state"], why)


def _pairs(mapping: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in mapping.items())
