"""Children: the combiners below this one. Stands where a root's `fedk.rounds.tier` stands; what they bring goes up."""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import delete, insert

from fedk.api.errors import Refused
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.combiner.below import Below
from fedk.combiner.errands import errands
from fedk.combiner.flushes import Flushes
from fedk.combiner.guests import Guests
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.combiner.relay import Relay
from fedk.rounds.clients import Arrival, Clients, Joined, Joining, Present
from fedk.rounds.combiners import BRANCHES, Branch, Combiner, Combiners
from fedk.rounds.graces import Graces
from fedk.rounds.live import Summed
from fedk.rounds.states import session_of
from fedk.rounds.tier import GRACE, Awaited
from fedk.state import tables as t
from fedk.state.store import Store

GONE = 1_000
"""Combiners that are lost and still told of: with each name that there ever was, a parent would refuse the whole message."""

log = logging.getLogger("fedk.combiner")


class Children:
    """`name` is of this combiner. Begins with `start`; `grace` as of a root's tier."""

    def __init__(
        self,
        name: str,
        *,
        relay: Relay,
        flushes: Flushes,
        below: Below,
        holdings: Holdings,
        inputs: Inputs,
        spool: Spool,
        parent: Parent,
        store: Store,
        grace: float = GRACE,
    ) -> None:
        self._name, self._relay, self._flushes, self._below = name, relay, flushes, below
        self._holdings, self._inputs, self._spool, self._parent, self._store = holdings, inputs, spool, parent, store
        self._combiners, self._graces = Combiners(), Graces(grace, self._over)
        self._here: set[str] = set()  # ids of those with a stream
        self._telling: set[str] = set()  # of those that have not reported all that is held there and below
        self._guests = Guests()
        self._errands = errands()
        self._network: Clients | None = None

    async def start(self, network: Clients) -> None:
        """From now on combiners may attach. Those of before count as just lost once there is a parent."""
        self._network = network
        async with self._store.reading() as db:
            await self._combiners.read(db)
        self._flushes.start(network, lambda: not self.complete)

    async def close(self) -> None:
        """Cancel what waits."""
        self._graces.close()
        await self._errands.close()

    @property
    def _down(self) -> Clients:
        assert self._network is not None  # noqa: S101  # start() sets it
        return self._network

    # ---- combiners ----

    @property
    def complete(self) -> bool:
        """Whether all that is held below has been reported: nobody is away that may come back with more."""
        return not self._graces and not self._telling

    @property
    def rooted(self) -> bool:
        """Whether this server has a way to the root: no ring of combiners ever does."""
        return self._parent.is_here

    def attached(self) -> None:
        """There is a stream to the parent: who is below can attach, and is waited for."""
        for combiner in self._combiners:
            if combiner.id not in self._here:
                self._graces.wait(combiner.id)

    async def attach(self, combiner: Combiner) -> None:
        """It is there. Written down, with the loss of what another disk of its name held, when this returns."""
        before = self._combiners.put(combiner)
        self._graces.forget(combiner.id)
        self._here.add(combiner.id)
        self._telling.add(combiner.id)
        if before:
            log.warning("combiner.new_disk combiner=%s: what it held is delivered again", combiner.name)
            self._lost(before)
        await self._write(combiner)

    def ready(self, combiner: Combiner) -> None:
        """Its stream takes words: what it was asked may not have reached it."""
        log.info("combiner.joined combiner=%s", combiner.name)
        self._flushes.again(combiner.id)
        self._parent.changed()
        if combiner.state == "draining":
            self._drain(combiner)

    def detached(self, combiner: Combiner) -> None:
        """Its stream has ended. Its clients are lost until they come back, here or elsewhere."""
        log.info("combiner.lost combiner=%s", combiner.name)
        self._here.discard(combiner.id)
        self._telling.discard(combiner.id)
        combiner.below = ()
        if combiner.state != "draining":
            combiner.state = "lost"
        gone = [Present(client, stay.instance, cause="lost") for client, stay in self._relay.stays(combiner.id).items()]
        self._relay.gone(gone, combiner.id)
        self._graces.wait(combiner.id)
        self._parent.changed()

    def drain(self, name: str) -> None:
        """The combiner of this name is to give away what it holds, and gets no client any more."""
        if (combiner := self._combiners.named(name)) is not None:
            self._errands.spawn(self._draining(combiner))
        for above, _ in self._combiners.above(name):
            self._down.drain_below(above.id, name)

    async def _draining(self, combiner: Combiner) -> None:
        combiner.state = "draining"
        await self._write(combiner)
        log.info("combiner.draining combiner=%s", combiner.name)
        self._parent.changed()
        self._drain(combiner)

    def _drain(self, combiner: Combiner) -> None:
        self._down.move(combiner.id)
        self._flushes.forward(combiner.id)

    async def _write(self, combiner: Combiner) -> None:
        async with self._store.transaction() as tx:
            await tx.execute(delete(t.combiners).where(t.combiners.c.name == combiner.name))
            await tx.execute(insert(t.combiners).values(combiner.row()))

    def _over(self, holder: str) -> None:
        if self._parent.is_here:
            self._lost(holder)
        else:
            self._graces.wait(holder)  # without a way to the root nobody could come back

    def _lost(self, holder: str) -> None:
        self._graces.forget(holder)
        self._forget(holder, self._guests.of(holder))
        self._gone(holder, self._below.lose(holder))
        gone = [one for one in self._combiners if one.id not in self._here and one.id not in self._graces]
        for one in sorted(gone, key=lambda one: one.last_seen)[:-GONE] if len(gone) > GONE else ():
            self._combiners.forget(one)
            self._errands.spawn(self._erase(one))
        self._parent.changed()

    async def _erase(self, combiner: Combiner) -> None:
        c = t.combiners.c
        async with self._store.transaction() as tx:  # unless it has come back
            await tx.execute(delete(t.combiners).where(c.name == combiner.name, c.last_seen == combiner.last_seen))

    def below(self, combiner: Combiner, branches: Sequence[Branch], *, complete: bool) -> None:
        """What it says of the combiners below it, and whether it has reported all that is held there."""
        if complete and combiner.id in self._telling:
            self._telling.discard(combiner.id)
            self._forget(combiner.id, self._guests.of(combiner.id))  # who is there has been named before
            self._flushes.look()
            self._parent.changed()
        if combiner.below != tuple(branches):
            combiner.below = tuple(branches)
            self._parent.changed()

    def branches(self) -> list[Branch]:
        """All combiners below this one; of more than a parent takes those that are lost come last."""
        found = [branch for combiner in self._combiners for branch in (self._branch(combiner), *combiner.below)]
        return found if len(found) <= BRANCHES else sorted(found, key=_is_lost)[:BRANCHES]

    def _branch(self, combiner: Combiner) -> Branch:
        return Branch(
            name=combiner.name,
            generation=combiner.generation,
            parent=self._name,
            state=combiner.state,
            clients=len(self._relay.stays(combiner.id)),
            held=sum(self._holdings.get(arrival.task) is None for arrival in self._below.of(combiner.id)),
            held_bytes=combiner.held_bytes,
            advertise=combiner.advertise,
            attributes=combiner.attributes,
            capacity=combiner.capacity,
            load=combiner.load,
            fold_seconds=combiner.fold_seconds,
        )

    # ---- their clients ----

    async def join(self, combiner: Combiner, joining: Joining) -> Joined:
        """A client has said hello to a combiner below. As `Relay.join`."""
        joined = await self._relay.join(joining, combiner.id)
        if combiner.id not in self._here:  # its stream has ended, and its clients were lost before this one came
            self._relay.gone([Present(joined.client, joining.instance, cause="lost")], combiner.id)
            return joined
        self._guests.put(joined.client, joining, combiner.id)
        return joined

    def here(self, combiner: Combiner, clients: Iterable[Present]) -> None:
        """Their streams are ready. One that has joined elsewhere is only still ending there."""
        there = [one for one in clients if self._is_at(one, combiner)]
        for one in there:
            self._guests.move(one.client, combiner.id)
        self._relay.here(there, combiner.id)

    def _is_at(self, one: Present, combiner: Combiner) -> bool:
        stay = self._relay.stay(one.client)
        return stay is None or stay.holder == combiner.id or stay.instance != one.instance

    def gone(self, combiner: Combiner, clients: Iterable[Present]) -> None:
        """Their streams have ended."""
        left = list(clients)
        self._relay.gone(left, combiner.id)
        self._forget(combiner.id, (one.client for one in left))

    def _forget(self, holder: str, clients: Iterable[str]) -> None:
        """Those that were at this combiner and are at no other. Of one that is just away they may still be there, and do
        not join again.
        """
        for client in clients:
            guest = self._guests.get(client)
            if guest is not None and guest.holder == holder and not self.holder(client):
                self._guests.forget(client)

    def holder(self, client: str) -> str:
        """The combiner below that a client is at, by id; "" for none."""
        stay = self._relay.stay(client)
        return stay.holder if stay is not None else ""

    def placed(self, project: str, name: str) -> str:
        """The same of a client by name."""
        return self.holder(self._guests.named(project, name))

    def who(self, client: str) -> tuple[str, str, Mapping[str, str]] | None:
        """Project, name and attributes of a client, if it has joined by a combiner below since this server's start."""
        found = self._guests.get(client)
        return (found.project, found.name, found.attributes) if found is not None else None

    # ---- their results ----

    def report(self, combiner: Combiner, arrivals: Iterable[Arrival]) -> None:
        """The combiner holds results durably: the parent is told, and asks for them here."""
        found = [arrival for arrival in arrivals if self._counts(combiner, arrival)]
        for arrival in found:
            self._below.add(combiner.id, arrival)
        self._parent.report(found)
        for arrival in found:
            self._relay.forget(arrival.task)
        self._flushes.look()

    def _counts(self, combiner: Combiner, arrival: Arrival) -> bool:
        """Not where its client is asked elsewhere: that it answers there, or leaves, is waited for."""
        if self._relay.client_of(arrival.task) not in ("", arrival.client):
            return False
        if self._relay.asks(arrival.task) and self.holder(arrival.client) != combiner.id:
            self._below.wait(combiner.id, arrival)
            return False
        return True

    def lost(self, combiner: Combiner, tasks: Iterable[str]) -> None:
        """Results that it has reported, and whose bytes it cannot read any more."""
        self._gone(combiner.id, self._below.lose(combiner.id, tasks))

    def _gone(self, holder: str, tasks: Iterable[str]) -> None:
        gone = [task for task in tasks if self._holdings.get(task) is None]
        if gone:
            log.warning("results.lost combiner=%s results=%d", holder, len(gone))
        self._parent.report(lost=gone)
        self._flushes.look()

    def declined(self, client: str, task: str, refused: Refused) -> None:
        """A combiner below did not take a result."""
        self._relay.decline(client, task, refused)

    def bringing(self, sha256: bytes) -> str:
        """The id of a session whose tasks bring this blob: not known here."""
        return ""

    @asynccontextmanager
    async def lending(self, sha256: bytes) -> AsyncIterator[None]:
        """While a combiner fetches a blob it is here, fetched from the parent if need be. NotFound; StateError."""
        async with self._inputs.lent(sha256, self._parent):
            yield

    # ---- what was asked of them ----

    def forget(self, span: Span | None) -> None:
        """Nobody needs these bytes."""
        if span is not None:
            self._spool.forget(span)

    def wants(self, combiner: Combiner, session: str, number: int) -> str | None:
        """The project of a session to which the bytes of this sum are still to come; None: they are here, or nobody
        needs them.
        """
        return self._flushes.wants(session, f"{combiner.id}#{number}")

    def again(self, combiner: Combiner, session: str, number: int) -> None:
        """A sum that is here, or that nobody needs, came again."""
        self._down.partial_taken(combiner.id, session, number)

    async def partial(self, combiner: Combiner, number: int, summed: Summed, session: str) -> None:
        """A sum whose bytes stand in the spool."""
        self._flushes.take(combiner.id, number, session, summed)

    def awaits(self, combiner: Combiner, task: str) -> Awaited | None:
        """What was reported of a result that may come as it was; None: not by this combiner, or it is here."""
        arrival = self._below.at(combiner.id, task)
        if arrival is None or self._holdings.get(task) is not None:
            return None
        return Awaited(session_of(task), arrival.project or "default", arrival)

    async def forwarded(self, combiner: Combiner, arrival: Arrival) -> None:
        """A result as it came, whose bytes stand in the spool: held here when this returns."""
        if self.awaits(combiner, arrival.task) is None:
            self.forget(arrival.span)
            return
        await self._holdings.put(Held(replace(arrival, span=None, project=arrival.project or "default"), arrival.span))
        self._flushes.look()


def _is_lost(branch: Branch) -> bool:
    return branch.state == "lost"
