"""Flushes: what the parent asks for, brought together from what is held here and from the combiners below."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fedk.aggregation.model import Model
from fedk.api.errors import BlobError, FedkError, Refused, StateError
from fedk.blobs.reader import Reader, Span
from fedk.blobs.spool import Spool
from fedk.combiner import words
from fedk.combiner.below import Added, Below
from fedk.combiner.errands import errands
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.combiner.partials import Order, Partial, Partials
from fedk.rounds.clients import Arrival, Clients, Flush, Wanted
from fedk.rounds.live import Summed
from fedk.rounds.repairs import patience
from fedk.rounds.states import session_of
from fedk_protocol.v1 import tier_pb2 as tier

READ = 2**20

PASSING = BlobError, Refused, StateError
"""What is tried again: bytes are asked for again, a parent has room again, and so has the disk here."""

log = logging.getLogger("fedk.combiner")


@dataclass(frozen=True, slots=True)
class Look:
    """Where the updates of a flush are now. Each is in one place: a sum from below goes before anything else."""

    sums: Sequence[Added]
    own: Sequence[Wanted]
    below: Mapping[str, Sequence[Wanted]]  # by the combiner that is asked for them
    gone: Sequence[str]  # nobody has them
    coming: bool  # somebody may still say that it has one

    @property
    def whole(self) -> bool:
        """Whether there is nothing to wait for."""
        return not self.below and not self.coming


class Flushes:
    """One at a time for each session; a newer one of the session takes the older one's place. Begins with `start`."""

    def __init__(
        self, *, holdings: Holdings, partials: Partials, inputs: Inputs, spool: Spool, below: Below, parent: Parent
    ) -> None:
        self._holdings, self._partials, self._inputs, self._spool = holdings, partials, inputs, spool
        self._below, self._parent = below, parent
        self._latest: dict[str, Flush] = {}  # by session
        self._turns: dict[str, asyncio.Lock] = {}  # by session: one sum after the other
        self._asked: dict[tuple[str, str], frozenset[str]] = {}  # tasks, by session and combiner below
        self._listening: set[asyncio.Event] = set()
        self._clients: Clients | None = None
        self._absent: Callable[[], bool] = lambda: False
        self._errands = errands()

    def start(self, clients: Clients, absent: Callable[[], bool]) -> None:
        """From now on combiners below are asked; `absent` says whether one is away that may come back."""
        self._clients, self._absent = clients, absent

    async def close(self) -> None:
        """Break off."""
        await self._errands.close()

    @property
    def _network(self) -> Clients:
        assert self._clients is not None  # noqa: S101  # start() sets it
        return self._clients

    # ---- what the parent says ----

    def answer(self, flush: Flush) -> None:
        """Give these updates: their sum, or each as it came."""
        self._latest[flush.session] = flush
        self.look()
        self._errands.spawn(self._answer(flush))

    def partial_taken(self, taken: tier.PartialTaken) -> None:
        """The sum is durable at the parent."""
        one = self._partials.get(taken.session, taken.number)
        for added in self._below.sums(taken.session) if one is not None else ():
            if one is not None and added.shares.keys() <= one.terms.keys():
                self._below.drop(added)
        self._drop(one)

    def refold(self, refold: tier.Refold) -> None:
        """The sum has tasks that are not this combiner's: the flush that follows names those that are."""
        self._drop(self._partials.get(refold.session, refold.number))

    def settled(self, task: str) -> None:
        """Its verdict is spoken: no sum that it is in is wanted any more."""
        for one in self._partials.having(task):
            self._drop(one)

    def _drop(self, one: Partial | None) -> None:
        if one is not None:
            self._partials.forget(one)
            self._errands.spawn(self._partials.delete(one))

    # ---- what combiners below bring ----

    def look(self) -> None:
        """Something has changed below, or in what is wanted."""
        for listening in self._listening:
            listening.set()

    def again(self, holder: str) -> None:
        """A combiner below is there with another stream: what it was asked may not have reached it."""
        for key in [key for key in self._asked if key[1] == holder]:
            del self._asked[key]
        self.look()

    def wants(self, session: str, name: str) -> str | None:
        """The project of a session for which this sum's bytes are still to come."""
        flush = self._latest.get(session)
        if flush is None or any(added.summed.name == name for added in self._below.sums(session)):
            return None
        return flush.project

    def take(self, holder: str, number: int, session: str, summed: Summed) -> None:
        """A sum whose bytes stand in the spool: taken if each of its updates is wanted, held there and in no other."""
        wanted = self._wanted(holder, session)
        there = {task for added in self._below.sums(session) for task in added.shares}
        bad = {task for task in summed.tasks if task not in wanted or task in there}
        if bad or not summed.tasks:
            self._spool.forget(summed.span)
            self._asked.pop((session, holder), None)
            self._network.refold(holder, session, number, sorted(bad))
        else:
            self._below.put(session, Added(summed, {task: wanted[task] for task in summed.tasks}))
            self._network.partial_taken(holder, session, number)
        self.look()

    def _wanted(self, holder: str, session: str) -> Mapping[str, Wanted]:
        flush = self._latest.get(session)
        shares = flush.wanted if flush is not None and not flush.forward else ()
        return {s.task: s for s in shares if (a := self._below.at(holder, s.task)) and a.sha256.startswith(s.sha256)}

    def forward(self, holder: str) -> None:
        """Ask a combiner below for each result that it holds, as it came. What is being summed comes in its sum."""
        held = [a for a in self._below.of(holder) if a.blobs and self._holdings.get(a.task) is None]
        for session in sorted({session_of(arrival.task) for arrival in held} - self._latest.keys()):
            own = [arrival for arrival in held if session_of(arrival.task) == session]
            self._network.flush(holder, _as_they_came(session, own))

    # ---- inside ----

    async def _answer(self, flush: Flush) -> None:
        news = asyncio.Event()
        async with self._turns.setdefault(flush.session, asyncio.Lock()):
            self._listening.add(news)
            try:
                if flush.forward:
                    await self._forward(flush, news)
                else:
                    await self._sum(flush, news)
            finally:
                self._listening.discard(news)
                if self._latest.get(flush.session) is flush:
                    del self._latest[flush.session], self._turns[flush.session]
                    for key in [key for key in self._asked if key[0] == flush.session]:
                        del self._asked[key]

    def _see(self, flush: Flush, news: asyncio.Event, told: set[str]) -> Look | None:
        """Where all is now, told and asked for as it needs; None: another flush has taken this one's place."""
        if self._latest.get(flush.session) is not flush:
            return None
        news.clear()
        look = self._look(flush)
        if fresh := [task for task in look.gone if task not in told]:
            told.update(fresh)
            self._parent.report(lost=fresh)
        for holder, shares in look.below.items():
            self._ask(flush, holder, shares)
        return look

    def _look(self, flush: Flush) -> Look:
        wanted = {share.task: share for share in flush.wanted}
        sums = []
        for added in self._below.sums(flush.session):
            if not flush.forward and added.suits(wanted):
                sums.append(added)
            else:
                self._below.drop(added)
        there = {task for added in sums for task in added.shares}
        own, below, gone, coming = [], dict[str, list[Wanted]](), [], False
        for share in flush.wanted:
            if share.task in there:
                continue
            if self._has(share):
                own.append(share)
            elif holder := self._below.holding(share.task, share.sha256):
                below.setdefault(holder, []).append(share)
            elif self._absent():
                coming = True
            else:
                gone.append(share.task)
        return Look(sums, own, below, gone, coming)

    def _has(self, share: Wanted) -> bool:
        held = self._holdings.get(share.task)
        return held is not None and held.arrival.sha256.startswith(share.sha256)

    def _ask(self, flush: Flush, holder: str, shares: Sequence[Wanted]) -> None:
        tasks, key = frozenset(share.task for share in shares), (flush.session, holder)
        if not tasks <= self._asked.get(key, frozenset()):
            self._asked[key] = tasks
            self._network.flush(holder, replace(flush, wanted=tuple(shares)))

    async def _forward(self, flush: Flush, news: asyncio.Event) -> None:
        given, told, failures = set[str](), set[str](), 0
        while (look := self._see(flush, news, told)) is not None:
            before = len(given)
            if not await self._given(look, given):
                failures = failures if len(given) == before else 0
                await self._rest(flush, news, patience(failures))
                failures += 1
            elif look.whole:
                return
            else:
                await news.wait()

    async def _given(self, look: Look, given: set[str]) -> bool:
        """Whether all that is here is `given` now. One that is not taken as it is keeps none back."""
        whole = True
        for task in [share.task for share in look.own if share.task not in given]:
            try:
                await self._give(task)
                given.add(task)
            except PASSING as error:
                await self._failed(error, [task])
                whole = False
                if not isinstance(error, BlobError):  # it is not about this one
                    break
        return whole

    async def _give(self, task: str) -> None:
        held = self._holdings.get(task)
        if held is None or held.span is None:
            return
        first = tier.Delivery(forwarded=words.forwarded(held.arrival))
        await self._parent.deliver(first, [(Path(held.span.path), held.span.offset, held.span.size)])

    async def _sum(self, flush: Flush, news: asyncio.Event) -> None:
        failures = 0
        while (look := await self._gathered(flush, news)) is not None and (look.own or look.sums):
            one = None
            try:
                one = await self._made(flush, look)
                size = sum(place.size for place in one.blobs.values())
                await self._parent.deliver(tier.Delivery(partial=words.partial(one)), [(one.path, 0, size)])
            except PASSING as error:
                if isinstance(error, BlobError):
                    self._drop(one)
                await self._failed(error, [share.task for share in look.own], look.sums)
                await self._rest(flush, news, patience(failures))
                failures += 1
            else:
                return

    async def _rest(self, flush: Flush, news: asyncio.Event, seconds: float) -> None:
        """Or until another flush takes its place."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # as patience says
                while self._latest.get(flush.session) is flush:
                    news.clear()
                    await news.wait()

    async def _gathered(self, flush: Flush, news: asyncio.Event) -> Look | None:
        told = set[str]()
        while (look := self._see(flush, news, told)) is not None and not look.whole:
            await news.wait()
        return look

    async def _made(self, flush: Flush, look: Look) -> Partial:
        shares = [*look.own, *(share for added in look.sums for share in added.shares.values())]
        terms = {share.task: (share.weight, share.scale) for share in shares}
        if (one := self._partials.of(flush.session, terms)) is not None:
            return one
        with ExitStack() as opened:
            wanted = sorted({share.base for share in look.own} or {flush.wanted[0].base})
            bases = {base: await self._base(base, opened) for base in wanted}
            parts = [words.contribution(share, self._held(share), bases[share.base]) for share in look.own]
            sums = [
                added.summed.of({t: words.terms(share) for t, share in added.shares.items()}) for added in look.sums
            ]
            order = Order(flush.delta, tuple(flush.sets), tuple(flush.plain), flush.exact)
            about = (flush.session, flush.project, flush.round)
            return await self._partials.make(*about, terms, parts, sums, base=bases[wanted[0]], order=order)

    def _held(self, share: Wanted) -> Held:
        held = self._holdings.get(share.task)
        if held is None or held.span is None:
            raise BlobError(f"the update of task {share.task} is settled by now")
        return held

    async def _base(self, sha256: bytes, opened: ExitStack) -> Model:
        span = await self._inputs.use(sha256, self._parent)
        opened.callback(self._inputs.release, sha256)
        return opened.enter_context(await asyncio.to_thread(Model.open, span))

    async def _failed(self, error: FedkError, tasks: Sequence[str], sums: Sequence[Added] = ()) -> None:
        """It is tried again. Bytes that cannot be read are asked for again. A parent that is away asks anew, once it is back:
        raises the error.
        """
        if isinstance(error, StateError) and not self._parent.is_here:
            raise error
        if not isinstance(error, BlobError):
            log.warning("%s", error)
            return
        log.error("what the parent has asked for cannot be given: %s", error)
        for added in sums:
            self._below.drop(added)
            self.again(added.summed.name.rpartition("#")[0])
        lost = [task for task in tasks if not await asyncio.to_thread(_whole, self._holdings.get(task))]
        for task in lost:
            self._holdings.drop(task)
        self._parent.report(lost=[task for task in lost if self._below.get(task) is None])


def _as_they_came(session: str, held: Sequence[Arrival]) -> Flush:
    return Flush(
        session=session,
        project=held[0].project,
        round=0,
        forward=True,
        delta=False,
        sets=(),
        plain=(),
        exact=False,
        wanted=tuple(Wanted(one.task, one.sha256, 1.0, 1.0, b"") for one in held),
    )


def _whole(held: Held | None) -> bool:
    """Whether its blobs are still those that were reported."""
    if held is None or held.span is None:
        return False
    try:
        return all(_hash(span) == held.arrival.blobs[name].sha256 for name, span in words.spans(held).items())
    except BlobError:
        return False


def _hash(span: Span) -> bytes:
    digest = hashlib.sha256()
    with Reader(span) as reader:
        for at in range(0, reader.size, READ):
            digest.update(reader.read(at, min(READ, reader.size - at)))
    return digest.digest()
