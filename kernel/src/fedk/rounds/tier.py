"""The tier: what combiners bring to sessions. They own bytes; who asks, who counts and what is closed is decided here.

At a combiner that has others below it, `fedk.combiner.children` stands in its place.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from fedk.aggregation.record import record
from fedk.api.errors import Refused, StateError
from fedk.blobs.reader import Span
from fedk.rounds import events as ev
from fedk.rounds.clients import Arrival, Joined, Joining, Present, Receipt, Reply
from fedk.rounds.combiners import Branch, Combiner
from fedk.rounds.door import Door
from fedk.rounds.draining import Draining
from fedk.rounds.errands import Errands
from fedk.rounds.graces import Graces
from fedk.rounds.inbox import COMPANY, Entry, Linked, Seen
from fedk.rounds.live import Live, Summed
from fedk.rounds.runner import Runner
from fedk.rounds.states import ENDED, ROOT, session_of
from fedk.state import tables as t

GRACE = 10.0
"""Seconds after which the bytes of a combiner that is gone count as lost: their clients are asked to deliver again."""

log = logging.getLogger("fedk.rounds")


@dataclass(frozen=True, slots=True)
class Awaited:
    """A result that is to come as it was, from whoever holds it."""

    session: str
    project: str
    arrival: Arrival


@record(frozen=True, slots=True)
class Reported:
    """Waits for a report's commit, as a future would."""

    tier: "Tier"
    combiner: Combiner
    arrival: Arrival

    def done(self) -> bool:
        return False

    def set_result(self, reply: Reply | None) -> None:
        if reply is None:
            self.tier.take(self.combiner, self.arrival)
        else:
            self.tier.told(self.combiner, self.arrival, reply)

    def set_exception(self, error: Exception) -> None:
        self.tier.failed(error)


class Tier:
    """Of a root. `grace` as GRACE."""

    def __init__(self, runner: Runner, door: Door, *, grace: float = GRACE) -> None:
        self.runner, self._door = runner, door
        self._graces = Graces(grace, self._lost)
        self._here: set[str] = set()  # holders with a stream
        self._errands = Errands(self.failed)
        self.draining = Draining(runner, self.is_here)
        self._to_drain = asyncio.Lock()  # who asks again waits with the first, and it is said once
        runner.written = self.draining.look

    # ---- combiners ----

    def begin(self) -> None:
        """After a restart: every combiner counts as just lost."""
        for combiner in self.runner.combiners:
            self._graces.wait(combiner.id)

    @property
    def rooted(self) -> bool:
        """Whether this server has a way to the root: it is the root."""
        return True

    async def attach(self, combiner: Combiner) -> None:
        """It is there. Written down, with the loss of what another disk of its name held, when this returns."""
        before = self.runner.combiners.put(combiner)
        self._graces.forget(combiner.id)
        if before:
            log.warning("combiner.new_disk combiner=%s: what it held is delivered again", combiner.name)
            self._lost(before)
        self._here.add(combiner.id)
        done = asyncio.get_running_loop().create_future()
        self.runner.inbox.put(Linked(combiner, "combiner.joined", done))
        await done

    def ready(self, combiner: Combiner) -> None:
        """Its stream takes words: what it was asked may not have reached it."""
        for live in self._alive():
            self.runner.post(live.state.id, ev.HolderBack(combiner.id))
        if combiner.state == "draining":
            self._drain(combiner.id)
        self.draining.look()

    def detached(self, combiner: Combiner) -> None:
        """Its stream has ended. Its clients are lost until they come back, here or elsewhere."""
        self._here.discard(combiner.id)
        combiner.below = ()
        if combiner.state != "draining":
            combiner.state = "lost"
        self.runner.inbox.put(Linked(combiner, "combiner.lost"))
        for member in self.runner.roster.all():
            if member.holder == combiner.id:
                self._door.leave(member.id, member.instance, "lost", combiner.id)
        self._graces.wait(combiner.id)

    async def drain(self, combiner: Combiner) -> None:
        """It is to give away what it holds, and gets no client any more. Written down when this returns."""
        async with self._to_drain:
            if combiner.state != "draining":
                await self._begin_draining(combiner)
        self._drain(combiner.id)
        self.draining.look()

    async def _begin_draining(self, combiner: Combiner) -> None:
        combiner.state = "draining"
        done = asyncio.get_running_loop().create_future()
        self.runner.inbox.put(Linked(combiner, "combiner.draining", done))
        try:
            await done
        except StateError:
            combiner.state = "live" if self.is_here(combiner) else "lost"
            raise

    def drain_below(self, combiner: Combiner, branch: Branch) -> None:
        """The same for one that is below `combiner`, which sees to it."""
        self.runner.network.drain_below(combiner.id, branch.name)

    def below(self, combiner: Combiner, branches: Sequence[Branch], *, complete: bool) -> None:
        """What it says of the combiners below it. `complete` is of what it reports, which is here in the rows."""
        combiner.below = tuple(branches)
        for one in branches:
            if one.clients or one.held:
                self.draining.fill(one.id)
        self.draining.look()

    def is_here(self, combiner: Combiner) -> bool:
        """Whether its stream is open."""
        return combiner.id in self._here

    def _drain(self, holder: str) -> None:
        self.runner.network.move(holder)
        for live in self._alive():
            self.runner.post(live.state.id, ev.Draining(holder))

    def _lost(self, holder: str) -> None:
        self._graces.forget(holder)
        for live in self._alive():
            self.runner.post(live.state.id, ev.HolderLost(holder))

    def _alive(self) -> Iterable[Live]:
        return [live for live in self.runner.lives.values() if live.state.status not in ENDED]

    # ---- their clients ----

    async def join(self, combiner: Combiner, joining: Joining) -> Joined:
        """A client has said hello to a combiner. Refused as by `Door.join`."""
        joined = await self._door.join(joining, combiner.id)
        if not self.is_here(combiner):  # its stream has ended, and its clients were lost before this one came
            self._door.leave(joined.client, joining.instance, "lost", combiner.id)
        return joined

    def here(self, combiner: Combiner, clients: Iterable[Present]) -> None:
        """Their streams are ready."""
        for one in clients:
            member = self.runner.roster.get(one.client)
            if member is None or member.instance != one.instance:
                continue  # another process of it has come
            if member.state != "connected":  # a combiner's stream broke, perhaps for another disk: not its client's
                member.state, member.holder, member.last_seen = "connected", combiner.id, time.time()
                self.runner.inbox.put(Seen(member, "client.joined"))
            elif member.holder != combiner.id:
                continue  # it has gone elsewhere
            self.draining.fill(combiner.id)
            self._door.joined(one.client)

    def gone(self, combiner: Combiner, clients: Iterable[Present]) -> None:
        """Their streams have ended."""
        for one in clients:
            self._door.leave(one.client, one.instance, one.cause, combiner.id)

    def holder(self, client: str) -> str:
        """The combiner of this server that a client is at, by id; "" for none."""
        member = self.runner.roster.get(client)
        return member.holder if member is not None else ""

    def placed(self, project: str, name: str) -> str:
        """The same of a client by name."""
        member = self.runner.roster.named(project, name)
        return member.holder if member is not None else ""

    def who(self, client: str) -> tuple[str, str, Mapping[str, str]] | None:
        """Project, name and attributes of a client."""
        member = self.runner.roster.get(client)
        return (member.project, member.name, member.attributes) if member is not None else None

    # ---- their results ----

    def report(self, combiner: Combiner, arrivals: Iterable[Arrival]) -> None:
        """The combiner holds results durably. Said again after each break of its stream: equal reports change nothing."""
        for arrival in arrivals:
            if self._door.awaits(arrival.client, arrival.task) and self.holder(arrival.client) != combiner.id:
                self._copied(combiner, arrival)  # its client has gone, and answers where it is
                continue
            # most are noted: a thousand of them cost less without a task or a future each
            if not self._door.note(arrival, combiner.id, Reported(self, combiner, arrival)):
                self.take(combiner, arrival)

    def _copied(self, combiner: Combiner, arrival: Arrival) -> None:
        """It holds a result that counts as another's: it hears the verdict all the same, and forgets it then."""
        if (live := self.runner.live_of(arrival.task)) is not None:
            live.copies.setdefault(arrival.task, set()).add(combiner.id)

    def take(self, combiner: Combiner, arrival: Arrival) -> None:
        """A report of which more is to be known than that it is written down."""
        self._errands.spawn(self._take(combiner, arrival))

    async def _take(self, combiner: Combiner, arrival: Arrival) -> None:
        self.told(combiner, arrival, await self._door.take(arrival, combiner.id))

    def told(self, combiner: Combiner, arrival: Arrival, reply: Reply) -> None:
        """What became of a report."""
        live = self.runner.live_of(arrival.task)
        taken = live.taken.get(arrival.task) if live is not None else None
        if not isinstance(reply, Receipt):  # it has given its own
            self.runner.network.reply(arrival.client, reply, (combiner.id,))
        elif taken is not None and taken.arrival.via[:1] == (combiner.id,):
            self.draining.fill(combiner.id)
        elif taken is not None:
            self._copied(combiner, arrival)

    def lost(self, combiner: Combiner, tasks: Iterable[str]) -> None:
        """Results that it has reported, and whose bytes it cannot read any more; of a settled one it gets the verdict."""
        for task in tasks:
            live = self.runner.live_of(task)
            found = live.state.tasks.get(task) if live is not None else None
            if found is not None and found.state != "settled":
                self.runner.post(session_of(task), ev.HolderLost(combiner.id, frozenset({task})))
            else:
                self._errands.spawn(self._said(task))

    async def _said(self, task: str) -> None:
        joined = t.tasks.join(t.results, t.tasks.c.id == t.results.c.task)
        query = select(t.tasks.c.client, t.results.c.result_id).select_from(joined).where(t.tasks.c.id == task)
        async with self.runner.store.reading() as db:
            found = (await db.execute(query)).one_or_none()
        if found is not None and (said := await self._door.answer(found.client, task, found.result_id)) is not None:
            self.runner.network.reply(found.client, said)

    def declined(self, client: str, task: str, refused: Refused) -> None:
        """The combiner did not take a result."""
        self._errands.spawn(self._declined(client, task, refused))

    async def _declined(self, client: str, task: str, refused: Refused) -> None:
        await self._door.refuse(client, task, "", refused)

    def bringing(self, sha256: bytes) -> str:
        """The id of a session whose tasks bring this blob; "" for none."""
        found = (
            live.state.id
            for live in self._alive()
            for base in live.bases.values()
            if any(one.sha256 == sha256 for one in base.inputs.values())
        )
        return next(found, "")

    @asynccontextmanager
    async def lending(self, _sha256: bytes) -> AsyncIterator[None]:
        """While a combiner fetches a blob: here it stays as long as open tasks bring it."""
        yield

    # ---- what was asked of them ----

    def forget(self, span: Span | None) -> None:
        """Nobody needs these bytes."""
        self.runner.forget(span)

    def wants(self, combiner: Combiner, session: str, number: int) -> str | None:
        """The project of a session to which the bytes of this sum are still to come; None: they are here, or nobody
        needs them.
        """
        live = self.runner.lives.get(session)
        return live.project if live is not None and f"{combiner.id}#{number}" not in live.partials else None

    def again(self, combiner: Combiner, session: str, number: int) -> None:
        """A sum that is here, or that nobody needs, came again: it has no tasks, for it may be written in vain."""
        self.runner.post(session, ev.Partial(combiner.id, number, frozenset()))

    async def partial(self, combiner: Combiner, number: int, summed: Summed, session: str) -> None:
        """A sum whose bytes stand in the spool. Judged when this returns."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        event = ev.Partial(combiner.id, number, summed.tasks)
        self.runner.inbox.put(Entry(session, event, summed, done, self._company(combiner, session)))
        await done

    def _company(self, combiner: Combiner, session: str) -> float:
        """Seconds that a sum may wait for those of others, which its round waits for anyway."""
        live = self.runner.lives.get(session)
        if live is None:
            return 0.0
        live.summing.add(combiner.id)
        return COMPANY if {task.holder for task in live.state.accepted()} - live.summing - {ROOT} else 0.0

    def awaits(self, combiner: Combiner, task: str) -> Awaited | None:
        """What was reported of a result that is wanted as it came; None: not from this combiner, or no more."""
        live = self.runner.live_of(task)
        found = live.state.tasks.get(task) if live is not None else None
        if live is None or found is None or found.state != "accepted" or found.holder != combiner.id:
            return None
        return Awaited(live.state.id, live.project, live.taken[task].arrival)

    async def forwarded(self, combiner: Combiner, arrival: Arrival) -> None:
        """A result as it came, whose bytes stand in the spool."""
        live = self.runner.live_of(arrival.task)
        if live is None or arrival.task not in live.taken:
            self.runner.forget(arrival.span)
            return
        known = live.taken[arrival.task]
        whole = replace(known.arrival, span=arrival.span, blobs=arrival.blobs)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        event = ev.Forwarded(combiner.id, arrival.task)
        self.runner.inbox.put(Entry(session_of(arrival.task), event, replace(known, arrival=whole), done))
        await done

    @staticmethod
    def failed(error: BaseException) -> None:
        """A combiner's word is lost; a report comes again when its task is offered anew."""
        log.error("a combiner's word could not be written down: %s", error)

    async def close(self) -> None:
        """Cancel what waits."""
        self._graces.close()
        await self._errands.close()
