"""The rounds of a session as a table. Fed by events; drawn by `display`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from fedk.cli import quantity

ENDS = ("session.finished", "session.failed", "session.stopped")
"""Events after which a session makes no further model."""

_OF_THE_ROUND = ("train.", "aggregator.")  # known at its commit; others are measured later
_LONGEST = 60  # characters of a client's words in a note


@dataclass(slots=True)
class Row:
    """One round: open, committed, and complete once its model is measured."""

    no: int
    target: int = 0
    attempt: int = 1
    updates: int = 0
    examples: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    measured: int = 0  # clients that measured its model
    asked: int = 0  # clients that were asked to
    seconds: float | None = None
    moved: int | None = None  # bytes
    committed: bool = False
    complete: bool = False
    notes: dict[str, int] = field(default_factory=dict)  # with how often
    replaced: int = 0

    @property
    def troubles(self) -> list[str]:
        """What went wrong in it, each with how often."""
        return [text if times == 1 else f"{text} ({times} times)" for text, times in self.notes.items()]

    @property
    def note(self) -> str:
        """What went wrong in it, in few words."""
        words = self.troubles
        short = self.committed and self.updates < self.target
        return ", ".join([*words, "not replaced"] if words and short and not self.replaced else words)

    def cells(self, metrics: Sequence[str]) -> list[str]:
        """Texts for the columns round, updates, examples, one for each metric, seconds, moved."""
        return [
            str(self.no),
            f"{self.updates}/{self.target}" if self.target else str(self.updates),
            f"{self.examples:,}" if self.examples is not None else "",
            *map(self._metric, metrics),
            quantity.seconds(self.seconds) if self.seconds is not None else "",
            quantity.size(self.moved) if self.moved is not None else "",
        ]

    def _metric(self, name: str) -> str:
        if name not in self.metrics:
            return ""
        text = quantity.metric(self.metrics[name])
        part = not name.startswith(_OF_THE_ROUND) and self.measured < self.asked
        return f"{text} ({self.measured} of {self.asked})" if part else text


class Rounds:
    """Rows by their number. `take` each event of the session, in order."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.metrics: list[str] = []  # columns, as they were seen; those of training first
        self.status, self.why = "", ""
        self.best: tuple[str, float, int] | None = None  # metric, value, round

    @property
    def header(self) -> list[str]:
        """The columns of `Row.cells`."""
        return ["round", "updates", "examples", *self.metrics, "seconds", "moved"]

    @property
    def open(self) -> Row | None:
        """The round that is under way."""
        row = next(reversed(self.rows.values()), None)
        return row if row is not None and not row.committed and not self.status else None

    @property
    def troubles(self) -> list[str]:
        """What went wrong in the last round, if that was not committed: a line for each client's word."""
        row = next(reversed(self.rows.values()), None)
        if row is None or row.committed:
            return []
        return [text for text in row.troubles if not text.startswith("attempt ")]

    def take(self, event: str, body: Mapping[str, Any]) -> list[Row]:
        """One event; returns the rows that it completed: nothing in them will change."""
        handler = getattr(self, f"_on_{event.replace('.', '_')}", None)
        if event in ENDS:
            return self._ended(event, body)
        return (handler(body) if handler is not None else None) or []

    def summary(self) -> str:
        """20 rounds in 1.4 s (median 0.066), 7.8 MB moved, best validate.accuracy 0.972 in round 20."""
        done = [row for row in self.rows.values() if row.committed]
        times = [row.seconds for row in done if row.seconds is not None]
        if not times:
            return "no round committed"
        text = (
            f"{quantity.counted(len(done), 'round')} in {sum(times):.1f} s (median {quantity.seconds(median(times))})"
        )
        moved = sum(row.moved or 0 for row in done)
        best = f", best {self.best[0]} {quantity.metric(self.best[1])} in round {self.best[2]}" if self.best else ""
        return f"{text}, {quantity.size(moved)} moved{best}"

    def curve(self) -> tuple[str, list[float]]:
        """The metric that people watch, and its values by round: a measured one before a trained one."""
        name = next(
            (n for n in self.metrics if not n.startswith(_OF_THE_ROUND)), self.metrics[0] if self.metrics else ""
        )
        return name, [row.metrics[name] for row in self.rows.values() if name in row.metrics]

    def _row(self, body: Mapping[str, Any]) -> Row:
        no = body["round"]
        return self.rows.setdefault(no, Row(no)) if no else Row(0)  # round 0 makes the initial model: no row

    def _on_round_open(self, body: Mapping[str, Any]) -> None:
        if body["round"]:
            self.rows.pop(body["round"], None)  # a failed session that goes on opens its round anew
        row = self._row(body)
        row.target, row.attempt = body.get("target", 0), body.get("attempt", 1)
        self.status = self.why = ""

    def _on_round_retried(self, body: Mapping[str, Any]) -> None:
        row = self._row(body)
        row.attempt = body["attempt"]
        row.notes[f"attempt {row.attempt}"] = 1

    def _on_update_accepted(self, body: Mapping[str, Any]) -> None:
        self._row(body).updates += 1

    def _on_update_refused(self, body: Mapping[str, Any]) -> None:
        self._note(body, f"{body['client']} refused: {body['reason']}")

    def _on_task_failed(self, body: Mapping[str, Any]) -> None:
        words = str(body.get("detail") or body["reason"]).splitlines()[0]
        self._note(body, f"{body['client']} failed: {words[:_LONGEST]}")

    def _on_task_lost(self, body: Mapping[str, Any]) -> None:
        self._note(body, f"{body['client']} lost")

    def _on_task_replaced(self, body: Mapping[str, Any]) -> None:
        self._row(body).replaced += 1
        self._note(body, f"{body['client']} asked instead")

    def _note(self, body: Mapping[str, Any], text: str) -> None:
        notes = self._row(body).notes
        notes[text] = notes.get(text, 0) + 1

    def _on_round_committed(self, body: Mapping[str, Any]) -> list[Row]:
        row = self._row(body)
        row.committed = True
        row.updates, row.target = body["updates"], body.get("target", row.target)
        row.examples, row.seconds = body.get("examples"), body.get("seconds")
        row.moved = body["sent"] + body["received"] if "sent" in body else None
        self._measure(row, body.get("metrics", {}))
        before = self.rows.get(row.no - 1)
        return self._completed([before] if before is not None else [])

    def _on_model_measured(self, body: Mapping[str, Any]) -> list[Row]:
        if body["round"] and body["round"] not in self.rows:
            return []  # the round was before all that is shown
        row = self._row(body)
        row.measured = body.get("clients", 0)
        following = self.rows.get(row.no + 1)
        row.asked = body.get("asked") or (following.target if following is not None else 0)
        self._measure(row, body.get("metrics", {}))
        self._find_best(row)
        return self._completed([row] if row.no and row.committed else [])

    def _ended(self, event: str, body: Mapping[str, Any]) -> list[Row]:
        self.status, self.why = event.partition(".")[2], body.get("why", "")
        return self._completed([row for row in self.rows.values() if row.committed])

    def _completed(self, rows: Sequence[Row]) -> list[Row]:
        new = [row for row in rows if not row.complete]
        for row in new:
            row.complete = True
        return new

    def _measure(self, row: Row, metrics: Mapping[str, float]) -> None:
        row.metrics.update(metrics)
        self.metrics += [name for name in metrics if name not in self.metrics]
        self.metrics.sort(key=lambda name: not name.startswith(_OF_THE_ROUND))

    def _find_best(self, row: Row) -> None:
        name, _ = self.curve()
        if name not in row.metrics or not row.no:
            return
        sign = -1 if "loss" in name or "error" in name else 1
        value = row.metrics[name]
        if self.best is None or self.best[0] != name or sign * value > sign * self.best[1]:
            self.best = name, value, row.no
