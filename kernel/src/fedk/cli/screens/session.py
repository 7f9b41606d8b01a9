"""Screens about sessions."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedk.cli import quantity
from fedk.cli.screens.table import facts, names, table

Document = Mapping[str, Any]

_WORKING = {"train": "training", "validate": "validating", "init": "making the initial model"}
ENDINGS = ("late", "stale", "memory", "damaged", "holder-lost", "session-stopped", "session-failed")
"""Reasons that are not the client's fault; `fedk.rounds.states` has them, at the cost of its imports."""

UNANSWERED = ("late", "session-stopped", "session-failed")
"""Those of a task that was ended before there was an answer: an update that was accepted is shown as such."""

LOUD = ("clients", "person", "repair")
"""Kinds of waiting that somebody must end."""


def begun(found: Document, model: str, clients: Sequence[Document], flags: str) -> str:
    """The line after a start: the initial model, and who is there."""
    here = [one["name"] for one in clients if one["state"] == "connected" and "train" in one["capabilities"]]
    least = found["rules"]["clients"]["min"]
    among = f" ({names(here)})" if here else ""
    missing = f", waiting for {least - len(here)} more" if len(here) < least else ""
    present = f"{quantity.counted(len(here), 'client')} of {least}{among}{missing}"
    return f"{found['name']}   {model}   {present}   fedk session watch{flags}"


def listed(found: Sequence[Document], flags: str) -> Iterator[str]:
    """All sessions."""
    if not found:
        yield f"no sessions yet: fedk session start FILE{flags}"
        return
    header = ("name", "status", "round", "aggregator", "started", "why")
    yield from table(header, [_line(one) for one in found])
    yield f"{quantity.counted(len(found), 'session')}: fedk session show {found[0]['name']}{flags}"


def _line(one: Document) -> tuple[str, ...]:
    round_ = f"{one['round']} of {one['rounds']}" if one["round"] is not None else f"– of {one['rounds']}"
    return (one["name"], one["status"], round_, one["aggregator"], quantity.moment(one["created_at"]), one["why"])


def shown(found: Document, flags: str, *, data_dir: Path | None = None) -> list[str]:
    """One session whole; `data_dir`, where that is only read."""
    resting = found["status"] in ("pending", "running", "paused", "failed")
    then = _taken_up(found, data_dir) if resting and data_dir is not None else _next(found, flags)
    return [_title(found), *facts([*_story(found), *then])]


def _title(found: Document) -> str:
    current = found["current"]
    where = f"round {found['round']} of {found['rounds']}" if current is not None else "no round yet"
    attempt = f", attempt {current['attempt']} of {current['attempts']}" if _troubled(current) else ""
    head = f", head model {found['head']['ref']}" if found["head"] is not None else ", no model yet"
    return f"{found['name']}   {found['status']}   {where}{attempt}{head}"


def _troubled(current: Document | None) -> bool:
    return current is not None and (current["attempt"] > 1 or current["state"] == "failed")


def _story(found: Document) -> Iterator[tuple[str, str]]:
    if found["why"]:
        yield "why", found["why"]
    if found["current"] is not None and found["status"] not in ("finished", "stopped"):
        for text, clients in _words(found["current"]["clients"]).items():
            yield "clients", f"{names(clients)}   {text}"
    for one in found["waiting_for"]:
        words, at_most = waiting(one)
        yield "waiting", f"for {words}" + (f", at most {quantity.span(at_most)}" if at_most is not None else "")
    measured = found["metrics"]
    if measured is not None:
        values = (f"{name} {quantity.metric(value)}" for name, value in measured["values"].items())
        yield "metrics", f"{'   '.join(values)}   (model {found['name']}/{measured['round']})"
    for text in found["warnings"]:
        yield "warning", text


def _words(clients: Sequence[Document]) -> dict[str, list[str]]:
    """Each client's last word in the round; those who say the same together."""
    found: dict[str, list[str]] = {}
    for one in clients:
        found.setdefault(_word(one), []).append(one["client"])
    return found


def _word(one: Document) -> str:
    detail = ", ".join(filter(None, (one["reason"], one["detail"])))
    times = f" {one['times']} times" if one["times"] > 1 else ""
    match one["outcome"]:
        case "asked":
            since = (
                f" {quantity.span(time.time() - one['sent_at'])}" if one["sent_at"] is not None else ", not sent yet"
            )
            return f"asked{since}"
        case "rejected" if one["reason"] in UNANSWERED:
            return f"no answer: {detail}"
        case "rejected" if one["reason"] in ENDINGS:
            return f"answer not used: {detail}"
        case "rejected":
            return f"refused{times}: {detail}"
        case "failed":
            return f"failed{times}: {detail}"
        case "lost" | "cancelled":
            return f"{one['outcome']}{times}"
        case outcome:
            return f"update {outcome}"


def waiting(one: Document) -> tuple[str, float | None]:
    """What an entry of `waiting_for` says: words behind "waiting for", and seconds until a deadline."""
    match one["for"]:
        case "clients":
            return f"clients: {one['present']} present, {one['min']} needed", one.get("at_most")
        case "person":
            return "a person to resume it", None
        case "repair":
            again = one.get("again_in")
            tried = f"; tried again in {quantity.span(again)}" if again is not None else ""
            return f"repair: {one['why']}{tried}", None
        case "fold":
            return f"the fold of {quantity.counted(one['updates'], 'update')}", None
        case "results":
            doing = _WORKING.get(one["kind"], one["kind"])
            return f"{names(one['clients'])} ({doing})", one.get("at_most")
        case other:
            return str(other), None


def _next(found: Document, flags: str) -> Iterator[tuple[str, str]]:
    name, head = found["name"], found["head"]
    match found["status"]:
        case "failed":
            onwards = f"from {head['ref']} " if head is not None else ""
            yield "next", f"fedk session resume {name}{flags}   goes on {onwards}with the same rules"
            yield "next", f"fedk session resume {name}{flags} --set round.quorum=0.6"
        case "paused":
            yield "next", f"fedk session resume {name}{flags}"
        case "running" | "pending":
            yield "next", f"fedk session watch {name}{flags}"
        case _ if head is not None:
            yield "next", f"fedk model get {head['ref']} -o M.safetensors{flags}"


def _taken_up(found: Document, data_dir: Path) -> Iterator[tuple[str, str]]:
    """Of a session that nobody runs: who goes on with it."""
    name = found["name"]
    yield "next", f"fedk run FILE:APP --resume {name} --data-dir {data_dir}"
    resumed = f"   then  fedk session resume {name}" if found["status"] in ("paused", "failed") else ""
    yield "next", f"FEDK_SERVER__DATA_DIR={data_dir} fedk server{resumed}"


def steered(found: Document, flags: str) -> str:
    """The line after pause, resume, stop."""
    where = f"round {found['round']} of {found['rounds']}" if found["round"] is not None else "no round yet"
    command = next((text for _, text in _next(found, flags)), "")
    return "   ".join(filter(None, (f"{found['name']}   {found['status']}   {where}", command)))
