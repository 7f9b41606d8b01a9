"""What has happened and is not yet in the rows. Drained whole: one batch is one transaction."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedk.aggregation.record import record
from fedk.aggregation.state import AggregatorState
from fedk.api.errors import StateError
from fedk.rounds.actions import Action, Keep
from fedk.rounds.combiners import Branch, Combiner
from fedk.rounds.events import Event, Result, Sent
from fedk.rounds.live import Base, Summed, Taken
from fedk.rounds.loaded import Loaded
from fedk.rounds.making import Made
from fedk.rounds.roster import Member
from fedk.rounds.states import session_of


@dataclass(frozen=True, slots=True)
class Committed:
    """What belongs to a Folded event: the model, and the base that it becomes."""

    made: Made
    base: Base
    state: AggregatorState

    def close(self) -> None:
        """Give its files back: it did not become the session's head."""
        self.base.close()
        self.state.close()


Note = Taken | Summed | Committed | Loaded


class Waiter(Protocol):
    """Who waits for an event's commit: a future, or what costs less for a thousand of them."""

    def done(self) -> bool: ...
    def set_result(self, reply: Any, /) -> None: ...
    def set_exception(self, error: Exception, /) -> None: ...


@record(frozen=True, slots=True)
class Entry:
    """One event of one session, with what its rows need and who waits for its commit."""

    session: str
    event: Event
    note: Note | None = None
    reply: "Waiter | None" = None
    patience: float = 0.0  # seconds that it may wait for others


@dataclass(frozen=True, slots=True)
class Seen:
    """A client has come or gone; `done` is set when its row is committed."""

    member: Member
    event: str  # client.joined | client.lost | client.left
    done: asyncio.Future[None] | None = None


@dataclass(frozen=True, slots=True)
class Linked:
    """A combiner has come or gone, or drains; `done` is set when its row is committed. One below another has none."""

    combiner: Combiner | Branch
    event: str  # combiner.joined | combiner.lost | combiner.draining | combiner.drained
    done: asyncio.Future[None] | None = None


Item = Entry | Seen | Linked


def refuse(item: Item, error: Exception) -> None:
    """Tell who waits for it that it is not in the rows."""
    waiter = item.reply if isinstance(item, Entry) else item.done
    if waiter is not None and not waiter.done():
        waiter.set_exception(StateError(f"not written: {error}"))


def kept(entries: Iterable[Entry], actions: Iterable[Action]) -> list[Note]:
    """What belongs to those of the events that have been acted on, in their order."""
    acted = {id(action.event) for action in actions if isinstance(action, Keep)}
    return [entry.note for entry in entries if entry.note is not None and id(entry.event) in acted]


LINGER = 0.05
"""Seconds that a task's sending, from which on a round's deadline runs, waits for news to be written with."""

ASIDE = 1.0
"""Seconds in which another task's sending may be overtaken by its result, and needs no row: lost it is offered again."""

COMPANY = 0.02
"""Seconds that a result waits for others that are awaited, to share a transaction: its round waits for them anyway. So
many for each hundred of them, at least once and at most ten times.
"""

COMPANY_ASYNC = 0.002
"""The same where no round waits, but the client, which is asked again once its result is taken."""


OVER = StateError("this server has stopped")
"""What who waits hears when nothing is written any more."""


class Inbox:
    """An unbounded queue: senders are bounded by what they hold (a stream reads on when its result is answered)."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()
        self._closed = self._ended = False
        self._hurried = False  # the next result waits for no company
        self._lingering: asyncio.TimerHandle | None = None
        self._aside: dict[str, None] = {}  # tasks
        self._due: asyncio.TimerHandle | None = None  # when they are given out

    def put(self, item: Item) -> None:
        self._items.append(item)
        if self._ended:
            refuse(item, OVER)
        if not isinstance(item, Entry):
            self._filled.set()
            return
        hurried = False
        if isinstance(item.event, Result):
            self._aside.pop(item.event.task, None)
            hurried, self._hurried = self._hurried, False
        if hurried or not item.patience:
            self._filled.set()
        elif not self._filled.is_set():
            self._linger(item.patience)

    def put_back(self, items: Sequence[Item]) -> None:
        """They come before all that is there."""
        self._items.extendleft(reversed(items))
        if items:
            self._filled.set()

    def put_aside(self, task: str) -> None:
        """It is sent. Its result, if that comes soon, says so too."""
        self._aside[task] = None
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(ASIDE, self._take_up)

    def _take_up(self) -> None:
        self._due = None
        self._items.extend(Entry(session_of(task), Sent(task)) for task in self._aside)
        self._aside.clear()
        if self._items:
            self._filled.set()

    def hurry(self) -> None:
        """Results that wait for company are held in memory, and there is no more of it; so are those on their way here."""
        self._hurried = True
        if self._items:
            self._filled.set()

    def _linger(self, seconds: float) -> None:
        """Give out what is there by then: the least patient decides."""
        loop = asyncio.get_running_loop()
        if self._lingering is not None:
            if self._lingering.when() <= loop.time() + seconds:
                return
            self._lingering.cancel()
        self._lingering = loop.call_later(seconds, self._filled.set)

    def close(self) -> None:
        """What is there is still given out; then there is nothing any more."""
        if self._due is not None:
            self._due.cancel()
        self._take_up()
        self._closed = True
        self._filled.set()

    def end(self, taken: Iterable[Item]) -> None:
        """Nothing more is written, nor are those that were `taken` last: who waits is told so, now and later."""
        self._ended = True
        for item in (*taken, *self._items):
            refuse(item, OVER)

    async def batch(self) -> list[Item]:
        """Everything that is there: at least one item, or none once the inbox is closed."""
        await self._filled.wait()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if not self._closed:
            self._filled.clear()
        batch, self._items = list(self._items), deque()
        return batch
