"""Rounds on their way: one live table on a terminal, one plain line per complete round in a pipe."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from fedk.api.printable import printable
from fedk.cli import quantity
from fedk.cli.rounds import Rounds, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

_NARROWEST = (5, 7, 8)  # of round, updates, examples: a pipe's columns do not move when numbers grow
_BLOCKS = "▁▂▃▄▅▆▇█"
_POINTS = 40  # of a curve
_AROUND = 7  # lines of a screen beside the rows


class Display(Protocol):
    """Where a run is shown. A context manager: left, the screen is as it should stay."""

    rounds: Rounds
    live: bool
    """Whether it is drawn in place."""

    def take(self, event: str, body: Mapping[str, Any]) -> None:
        """Show what an event of the session changes."""

    def say(self, line: str) -> None:
        """A line of its own."""

    def wait(self, words: str, at_most: float | None = None) -> None:
        """What the session waits for; seconds until its deadline. "" for nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(out: TextIO | None = None, *, title: str = "", total: int = 0, hint: str = "") -> Display:
    """A live table where `out` is a terminal, else plain lines. `title` and `hint` stand above and below the table."""
    out = out if out is not None else sys.stdout
    return Table(out, title=title, total=total, hint=hint) if out.isatty() else Lines(out)


class Lines:
    """For a pipe, a file, a log."""

    live = False

    def __init__(self, out: TextIO) -> None:
        self.rounds = Rounds()
        self._out, self._header, self._waiting = out, list[str](), ""

    def take(self, event: str, body: Mapping[str, Any]) -> None:
        for row in self.rounds.take(event, body):
            self._print(row)

    def say(self, line: str) -> None:
        print(printable(line), file=self._out, flush=True)  # a line of the command's output

    def wait(self, words: str, at_most: float | None = None) -> None:
        """Said once: a deadline that comes nearer is no news."""
        if words and words != self._waiting:
            self.say(f"waiting   {words}")
        self._waiting = words

    def _print(self, row: Row) -> None:
        if self._header != self.rounds.header:
            self._header = self.rounds.header
            self.say(self._line(self._header))
        note = f"   {row.note}" if row.note else ""
        self.say(self._line(row.cells(self.rounds.metrics)) + note)

    def _line(self, cells: list[str]) -> str:
        least = [*_NARROWEST, *[0] * len(self.rounds.metrics), 7, 8]
        widths = [max(len(name), width) for name, width in zip(self._header, least, strict=True)]
        return " " + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Table:
    """For a terminal: drawn in place, by rich."""

    live = True

    def __init__(self, out: TextIO, *, title: str = "", total: int = 0, hint: str = "") -> None:
        from rich.console import Console
        from rich.live import Live

        self.rounds = Rounds()
        self._title, self._total, self._hint = title, total, hint
        self._waiting, self._until = "", 0.0
        self._console = Console(file=out, highlight=False)
        # drawn four times a second, not at each event: seconds count down, and a fast session has 100 events in one
        self._live = Live(console=self._console, get_renderable=self._drawn, refresh_per_second=4)

    def take(self, event: str, body: Mapping[str, Any]) -> None:
        self.rounds.take(event, body)

    def say(self, line: str) -> None:
        self._console.print(printable(line), markup=False)

    def wait(self, words: str, at_most: float | None = None) -> None:
        self._waiting = words
        self._until = time.monotonic() + at_most if at_most is not None else 0.0

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hint = self._waiting = ""
        self._live.stop()

    def _drawn(self) -> "RenderableType":
        from rich.console import Group

        parts = [self._head(), self._now(), self._rows(), self._foot()]
        return Group(*[part for part in parts if part is not None])

    def _head(self) -> "RenderableType | None":
        if not self._title:
            return None
        last = next(reversed(self.rounds.rows), 0)
        where = f"round {last} of {self._total}" if self._total else f"round {last}"
        return self._text(f"{self._title}   {self.rounds.status or 'running'}   {where}", "bold")

    def _now(self) -> "RenderableType | None":
        """The open round: a bar of its updates, and what it waits for."""
        row = self.rounds.open
        left = f", at most {quantity.span(max(0.0, self._until - time.monotonic()))}" if self._until else ""
        waiting = f"waiting for {self._waiting}{left}" if self._waiting else ""
        if row is None or not row.target:
            return self._text(waiting) if waiting else None
        full = 20 * min(row.updates, row.target) // row.target
        bar = "█" * full + "░" * (20 - full)
        return self._text(f"round {row.no:<4} {bar}   {row.updates} of {row.target} updates   {waiting}".rstrip())

    def _rows(self) -> "RenderableType | None":
        from rich import box
        from rich.table import Table as Grid

        rows = [row for row in self.rounds.rows.values() if row.committed]
        if not rows:
            return None
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        for name in self.rounds.header:
            grid.add_column(name, justify="right")
        if any(row.note for row in rows):
            grid.add_column("note", overflow="fold")
        for row in rows[-max(3, self._console.height - _AROUND) :]:
            cells = row.cells(self.rounds.metrics)
            grid.add_row(*[self._text(cell) for cell in [*cells, row.note][: len(grid.columns)]])
        return grid

    def _foot(self) -> "RenderableType | None":
        name, values = self.rounds.curve()
        curve = f"{name} {spark(values)}    " if len(values) > 1 else ""
        return self._text(f"{curve}{self._hint}", "dim") if curve or self._hint else None

    def _text(self, text: str, style: str = "") -> "RenderableType":
        from rich.text import Text

        return Text(printable(text), style=style)


def spark(values: list[float]) -> str:
    """The last values as a curve of blocks."""
    shown = values[-_POINTS:]
    low, high = min(shown), max(shown)
    step = (high - low) / (len(_BLOCKS) - 1) or 1.0
    return "".join(_BLOCKS[round((value - low) / step)] for value in shown)
