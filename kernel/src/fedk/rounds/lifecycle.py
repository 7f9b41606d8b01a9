"""The table's rows of a session: how it starts, pauses, goes on and ends."""

from typing import Literal

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.asking import deselect
from fedk.rounds.draft import Draft
from fedk.rounds.holders import flush


def start(d: Draft, _: ev.Start) -> None:
    if d.session.status == "pending":
        d.set(status="running")
        d.emit("session.running")


def pause(d: Draft, _: ev.Pause) -> None:
    if d.session.status in ("running", "paused") and d.session.paused_by != "person":
        _pause(d, "person", "paused by a person")


def blocked(d: Draft, event: ev.Blocked) -> None:
    r = d.session.round
    if r is not None and r.state == "folding" and event.fold == r.token:
        d.reopen(r)  # its fold is over: going on begins another
    if d.session.status == "running":
        deselect(d)  # a gate that failed gave no answer
        _pause(d, "blocked", event.why)


def _pause(d: Draft, by: Literal["person", "blocked"], why: str) -> None:
    d.clock(act.Disarm)
    d.set(status="paused", paused_by=by, why=why)
    d.emit("session.paused", by=by, why=why)


def resume(d: Draft, _: ev.Resume) -> None:
    if d.session.status == "failed":
        d.set(status="running", why="", round=None)
        d.emit("session.running")
    elif d.session.status == "paused":
        _go_on(d)


def unblocked(d: Draft, _: ev.Unblocked) -> None:
    if d.session.paused_by == "blocked":
        _go_on(d)


def _go_on(d: Draft) -> None:
    d.set(status="running", paused_by="", why="")
    flush(d)
    d.clock(act.Arm)
    d.emit("session.running")


def changed(d: Draft, event: ev.Changed) -> None:
    r = d.session.round
    if d.session.status in ("paused", "failed") and (r is None or r.state != "folding"):
        d.set(rules=event.rules)


def stop(d: Draft, _: ev.Stop) -> None:
    end(d, "stopped", "stopped by a person", "session-stopped")


def broken(d: Draft, event: ev.Broken) -> None:
    end(d, "failed", event.why, "session-failed")


def end(d: Draft, status: Literal["finished", "failed", "stopped"], why: str, reason: str) -> None:
    """Every task gets its verdict."""
    d.clock(act.Disarm)
    d.give_up("rejected", reason)
    d.set(status=status, why=why, round=None, paused_by="")
    d.emit(f"session.{status}", why=why)
