"""A batch: all that has happened since the last one, on its way into the rows in one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from fedk.blobs.spool import Spool
from fedk.catalogue.gates import Gates
from fedk.rounds import actions as act
from fedk.rounds.acceptance import dated
from fedk.rounds.book import Book, event_row
from fedk.rounds.feed import Published
from fedk.rounds.folds import Folds
from fedk.rounds.gating import drawn
from fedk.rounds.inbox import Committed, Entry, Item, Seen, kept
from fedk.rounds.live import Live, Summed, Taken
from fedk.rounds.machine import advance
from fedk.rounds.roster import Roster
from fedk.rounds.step import Step
from fedk.state import tables as t

SOON = 0.25
"""Seconds that a batch waits for the model of a round that it closes: a disk or a formula may be slow, and others wait."""


class Batch:
    """`items` grows by the models that are made in it. What is in memory stays as it is until the rows are written."""

    def __init__(
        self,
        items: list[Item],
        lives: Mapping[str, Live],
        *,
        roster: Roster,
        spool: Spool,
        gates: Gates,
        folds: Folds,
        traffic: Callable[[str], tuple[int, int]],
    ) -> None:
        self.items, self.book = items, Book(roster, spool.place)
        self._roster, self._gates, self._folds, self._traffic = roster, gates, folds, traffic
        self._entries: dict[str, list[Entry]] = {}  # by session
        for item in items:
            if isinstance(item, Entry):
                self._entries.setdefault(item.session, []).append(item)
            elif isinstance(item, Seen):
                self.book.client(item)
            else:
                self.book.combiner(item)
        self.steps = [Step(lives[s], lives[s].state, []) for s in self._entries if s in lives]

    async def decide(self) -> None:
        """Into the book with it. Of rounds that it closes, models that are soon made are committed with it."""
        for step in self.steps:
            self._take(step, self._entries[step.new.id])
        for step in self.steps:
            self._begin(step)
        if self.unfinished:
            await asyncio.wait(self.unfinished, timeout=SOON)  # as SOON says
        for step in self.steps:
            if step.making is not None and step.making.done():
                self._close(step, step.making.result())

    def published(self, last: int) -> Sequence[Published]:
        """Its events, numbered after the `last` one, and written with it."""
        found = [
            Published(last + n, e.project, e.session, e.type, e.body, e.at) for n, e in enumerate(self.book.events, 1)
        ]
        for event in found:
            self.book.writes.insert(t.events, event_row(event))
        return found

    @property
    def stays(self) -> bool:
        """Whether results of it are needed after it: their bytes must be on the disk before the rows say so."""
        results = [e.note.arrival.task for e in self.items if isinstance(e, Entry) and isinstance(e.note, Taken)]
        return any(step.stays(task) for step in self.steps for task in results)

    @property
    def unfinished(self) -> "Sequence[asyncio.Task[Entry]]":
        """Models that were begun in it and not soon made."""
        return [step.making for step in self.steps if step.making is not None]

    def _take(self, step: Step, entries: Sequence[Entry]) -> None:
        """What has happened to a session, into its state and into the book."""
        live, old = step.live, step.new
        draw = None if self._gates.has("clients_selected") else partial(drawn, live, roster=self._roster)
        new, actions = advance(old, [e.event for e in entries], draw=draw)
        notes = kept(entries, actions)
        self.book.session(
            live,
            old,
            new,
            actions,
            taken={n.arrival.task: dated(live, new, n, self._roster) for n in notes if isinstance(n, Taken)},
            summed={e.note.name: e.note for e in entries if isinstance(e.note, Summed)},
            committed=next((n for n in notes if isinstance(n, Committed)), None),
            traffic=self._traffic(live.state.id),
        )
        step.new = new
        step.actions += actions

    def _begin(self, step: Step) -> None:
        if (fold := step.fold) is None or step.changes:
            return
        ahead = replace(step.live, state=step.new)
        if self._folds.soon(ahead, fold):
            step.making = asyncio.create_task(self._made(step.live, ahead, fold))

    async def _made(self, live: Live, ahead: Live, fold: act.Fold) -> Entry:
        entry = await self._folds.made(ahead, fold)
        live.curve = ahead.curve  # read once
        return entry

    def _close(self, step: Step, entry: Entry) -> None:
        step.making, fold = None, step.fold
        step.actions = [action for action in step.actions if action is not fold]
        self.items.append(entry)
        before = step.new.tasks
        self._take(step, [entry])
        # those that were settled before it are still to be told
        step.new = replace(step.new, tasks={**before, **step.new.tasks})
