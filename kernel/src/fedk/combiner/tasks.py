"""Tasks: whose answers are awaited here or below, each with its brief, which is made once for all of a round and kind."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from fedk.api.errors import BlobError, StateError
from fedk.blobs.spool import Spool
from fedk.combiner.brief import Brief, Codecs
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.combiner.words import Asked
from fedk.rounds.repairs import patience
from fedk_protocol.v1 import tier_pb2 as tier

COMMONS = 64
"""Rounds and kinds whose common part is kept: twice what the parent says once."""

log = logging.getLogger("fedk.combiner")


@dataclass(slots=True, eq=False)
class Making:
    """A brief, from the first task on that needs it."""

    brief: asyncio.Task[Brief]
    users: int = 0  # tasks that wait for it, or are open
    retired: bool = False  # a later one has taken its place
    left: set[str] = field(default_factory=set)  # tasks whose clients have left: half of an answer may be here

    @property
    def made(self) -> Brief | None:
        """None: it is on its way, or has failed."""
        return self.brief.result() if self.brief.done() and not self.failed else None

    @property
    def failed(self) -> bool:
        return self.brief.done() and (self.brief.cancelled() or self.brief.exception() is not None)


@dataclass(frozen=True, slots=True)
class Open:
    """A task of a client of this combiner, or of one below."""

    client: str
    brief: Brief
    making: Making


class Tasks:
    """A task is coming until its brief is here, then open until it is forgotten."""

    def __init__(self, *, inputs: Inputs, spool: Spool, parent: Parent, codecs: Codecs) -> None:
        self._inputs, self._spool, self._parent, self._codecs = inputs, spool, parent, codecs
        self._commons: OrderedDict[int, tier.Common] = OrderedDict()
        self._makings: dict[int, Making] = {}
        self._coming: dict[str, Asked] = {}  # the latest word of each
        self._open: dict[str, Open] = {}
        self._of: dict[str, set[str]] = {}  # by client: thousands may leave at once

    def get(self, task: str) -> Open | None:
        """None: it is not open."""
        return self._open.get(task)

    def client(self, task: str) -> str:
        """Whose answer is awaited, or is to be; else ""."""
        found = self._open.get(task) or self._coming.get(task)
        return found.client if found is not None else ""

    def anew(self) -> None:
        """Another stream counts its rounds and kinds from the beginning."""
        for number in list(self._makings):
            self._retire(number)
        self._commons.clear()

    def hear(self, common: tier.Common) -> None:
        """What tasks that follow have in common. It takes the place of an earlier one of its session and kind."""
        for number in list(self._makings):
            before = self._commons.get(number)
            if before and (before.session, before.task.kind) == (common.session, common.task.kind):
                self._retire(number)
        self._commons[common.id] = common
        if len(self._commons) > COMMONS:
            self._retire(self._commons.popitem(last=False)[0])

    async def open(self, one: Asked) -> Brief | None:
        """Its brief, at hand; None where it is not wanted any more: taken back, asked again, its client gone."""
        if one.task not in self._open:
            await self._come(one)
        found = self._open.get(one.task)
        return found.brief if found is not None else None

    def leave(self, clients: Collection[str]) -> list[str]:
        """Their answers are not awaited any more; answers to which tasks."""
        tasks = [task for client in clients for task in self._of.get(client, ())]
        for task in tasks:
            if (found := self._open.get(task)) is not None:
                found.making.left.add(task)
            self.forget(task)
        return tasks

    def forget(self, task: str) -> None:
        """No answer to it is awaited any more."""
        found = self._open.pop(task, None)
        one = found or self._coming.pop(task, None)
        if one is None:
            return
        self._of[one.client].discard(task)
        if not self._of[one.client]:
            del self._of[one.client]
        if found is not None:
            self._release(found.making)

    def close(self) -> None:
        """Let go of files."""
        for task in list(self._open):
            self.forget(task)
        for making in self._makings.values():
            making.brief.cancel()
            if (brief := making.made) is not None:
                brief.close()

    async def _come(self, one: Asked) -> None:
        making = self._making(one.common)
        self.forget(one.task)
        self._coming[one.task] = one
        self._of.setdefault(one.client, set()).add(one.task)
        making.users += 1
        try:
            brief = await asyncio.shield(making.brief)
            if self._coming.get(one.task) is one:
                del self._coming[one.task]
                self._open[one.task] = Open(one.client, brief, making)
                making.users += 1
        finally:
            if self._coming.get(one.task) is one:
                self.forget(one.task)
            self._release(making)

    def _making(self, number: int) -> Making:
        """After a failure anew for the tasks that come then."""
        making = self._makings.get(number)
        if making is None or making.failed:
            making = self._makings[number] = Making(asyncio.create_task(self._made(number, self._commons[number])))
        return making

    async def _made(self, number: int, common: tier.Common) -> Brief:
        """It is tried again where the parent is there: it asks once, and a round's deadline waits for the first task."""
        failures = 0
        while True:
            try:
                return await Brief.of(common, self._inputs, self._parent, self._codecs)
            except (BlobError, StateError) as error:
                if not self._parent.is_here or all(one.common != number for one in self._coming.values()):
                    raise
                log.warning("tasks of session %s wait: %s", common.session, error)
            await asyncio.sleep(patience(failures))  # as that says
            failures += 1

    def _release(self, making: Making) -> None:
        making.users -= 1
        self._look_at(making)

    def _retire(self, number: int) -> None:
        """Close it once it is made and nothing needs it."""
        making = self._makings.pop(number, None)
        if making is None:
            return

        def retired(_brief: object) -> None:
            making.retired = True
            self._look_at(making)

        making.brief.add_done_callback(retired)

    def _look_at(self, making: Making) -> None:
        if making.retired and not making.users and (brief := making.made) is not None:
            brief.close()
            for task in making.left - self._open.keys() - self._coming.keys():
                self._spool.expire(task)
