"""Draining: which combiners give away what they have, and when they are empty."""

import asyncio
from collections.abc import Callable, Iterator

from fedk.api.errors import Conflict
from fedk.rounds.combiners import Branch, Combiner
from fedk.rounds.inbox import Linked
from fedk.rounds.runner import Runner

DRAINED = "combiner.drained"


class Draining:
    """Of a root, which looks whenever something is written down. `here` says whether a combiner's stream is open."""

    def __init__(self, runner: Runner, here: Callable[[Combiner], bool]) -> None:
        self._runner, self._here = runner, here
        self._told: set[str] = set()  # ids of those that are said to be empty, and have had nothing since
        self._changed = asyncio.Event()

    def fill(self, holder: str) -> None:
        """It has a client or a result: that it is empty is to be said anew."""
        self._told.discard(holder)

    def look(self) -> None:
        """Say of each that is empty that it is."""
        for one in self._here_now():
            if one.state != "draining":
                self._told.discard(one.id)
            elif one.id not in self._told and self._empty(one):
                self._told.add(one.id)
                self._runner.inbox.put(Linked(one, DRAINED))
        self._changed.set()

    async def end(self, name: str) -> None:
        """Returns when the combiner of this name has no client and holds nothing. Conflict: it is gone meanwhile."""
        while not any(one.name == name and self._empty(one) for one in self._here_now() if one.state == "draining"):
            if not any(one.name == name for one in self._here_now()):
                raise Conflict(f"combiner {name} is gone: its clients go elsewhere, and deliver again what it held")
            self._changed.clear()
            await self._changed.wait()

    def _here_now(self) -> Iterator[Combiner | Branch]:
        for combiner in self._runner.combiners:
            if self._here(combiner):
                yield combiner
                yield from (branch for branch in combiner.below if branch.state != "lost")

    def _empty(self, one: Combiner | Branch) -> bool:
        if isinstance(one, Branch):
            return not (one.clients or one.held)
        if any(member.holder == one.id and member.state == "connected" for member in self._runner.roster.all()):
            return False
        lives = self._runner.lives.values()
        return not any(
            t.state == "accepted" and t.holder == one.id for live in lives for t in live.state.tasks.values()
        )
