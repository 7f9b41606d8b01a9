"""Links: the streams of combiners to this server. Words for many clients travel together."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import Any

import grpc

from fedk.aggregation.expected import Expected
from fedk.api.balancer import ServerView
from fedk.api.errors import Refused
from fedk.combiner.columns import gaps
from fedk.combiner.words import TOGETHER, shares
from fedk.network import combiners, sayings
from fedk.network.calls import Context, Ended, greeting, parsed, violated
from fedk.network.doors import AnyDoor, AnyTier
from fedk.network.messages import Answer, common, spoken
from fedk.network.reports import check, reported, sent
from fedk.network.roll import Roll
from fedk.network.stream import Message, Stream
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Flush, Offer, Present, Receipt, Verdict, Work
from fedk.rounds.combiners import Combiner
from fedk.rounds.door import OpenTask
from fedk.rounds.states import number_of, session_of
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier
from fedk_protocol.version import VERSION

COMMONS = 32
"""Rounds and kinds whose common part is not said again; who listens keeps twice as many."""

CAUSES = frozenset({"goodbye", "lost"})
"""Why a client's stream has ended; what else is said goes no further up."""


class Link:
    """One combiner's stream."""

    def __init__(
        self,
        combiner: Combiner,
        context: Context,
        *,
        door: AnyDoor,
        rounds: AnyTier,
        arrived: Callable[[str], None],
        traffic: Traffic,
    ) -> None:
        self.combiner, self._traffic = combiner, traffic
        self.clients: set[str] = set()
        self._door, self._rounds, self._arrived = door, rounds, arrived
        self._stream = Stream(context, self._next)
        self._offers: OrderedDict[str, Offer] = OrderedDict()  # by task
        self._answers: deque[tier.Answer] = deque()
        self._settled: dict[tuple[str, ...], list[int]] = {}  # numbers of tasks, by session and what is said of all
        self._commons: OrderedDict[int, tuple[int, Work]] = OrderedDict()  # by identity: the work is kept
        self._numbers, self._roll, self._below = count(1), Roll(), combiners.Told()

    # ---- down ----

    def offer(self, offer: Offer) -> None:
        """A task for a client of the combiner."""
        self._offers[offer.task] = offer
        self._stream.wake()

    def cancel(self, client: str, task: str, reason: str) -> None:
        """Take a task back: one that is still here is not sent, the combiner hears of any other."""
        if self._offers.pop(task, None) is None:
            self.answer(client, cancel=pb.Cancel(task=task, reason=reason))

    def answer(self, client: str, **word: Any) -> None:
        """A word for a client of the combiner: `answer(client, verdict=…)`."""
        self._answers.append(tier.Answer(client=client, **word))
        self._stream.wake()

    def settled(self, verdict: Verdict) -> None:
        """A verdict on what the combiner holds for a client of its own: one word for all that have the same."""
        one = (session_of(verdict.task), verdict.outcome, verdict.model, verdict.reason, verdict.detail)
        self._settled.setdefault(one, []).append(number_of(verdict.task))
        self._stream.wake()

    def say(self, **message: Any) -> None:
        """A word for the combiner itself: `say(flush=…)`."""
        self._stream.say(tier.Downward(**message).SerializeToString())

    def end(self, code: grpc.StatusCode, text: str) -> None:
        """Say what is queued, then end the call."""
        self._stream.end(Ended(code, text))

    def _next(self) -> Message | None:
        if self._answers or self._settled:
            words = [self._answers.popleft() for _ in range(min(len(self._answers), TOGETHER))]
            settled, self._settled = map(_settled, self._settled.items()), {}
            return Message((tier.Downward(answers=tier.Answers(answers=words, settled=settled)).SerializeToString(),))
        fresh, tasks, many = list[tier.Common](), dict[int, list[Offer]](), 0
        while self._offers and many < TOGETHER:
            _, offer = self._offers.popitem(last=False)
            if self._door.awaits(offer.client, offer.task):  # or it has been settled meanwhile
                tasks.setdefault(self._number(offer, fresh), []).append(offer)
                many += 1
        if not tasks:
            return None
        relay = tier.Relay(common=fresh, tasks=[self._assigned(number, offers) for number, offers in tasks.items()])
        return Message((tier.Downward(relay=relay).SerializeToString(),))

    def _number(self, offer: Offer, fresh: list[tier.Common]) -> int:
        """Of what a task has in common with others."""
        work = offer.work
        if id(work) not in self._commons:
            task = self._door.open_task(offer.client, offer.task)
            assert task is not None  # noqa: S101  # it is awaited
            self._commons[id(work)] = next(self._numbers), work
            fresh.append(self._common(self._commons[id(work)][0], work, task))
            self._traffic.sent(work.session, fresh[-1].ByteSize())
            if len(self._commons) > COMMONS:
                self._commons.popitem(last=False)
        return self._commons[id(work)][0]

    def _assigned(self, number: int, offers: list[Offer]) -> tier.Assigned:
        offers.sort(key=lambda offer: number_of(offer.task))
        work = offers[0].work
        return tier.Assigned(
            common=number,
            session=work.session,
            tasks=gaps(number_of(offer.task) for offer in offers),
            clients=[self._roll[offer.client] for offer in offers],
            seeds=[offer.seed for offer in offers],
            remaining=work.remaining(),
        )

    def _common(self, number: int, work: Work, task: OpenTask) -> tier.Common:
        return tier.Common(
            id=number,
            task=common(work),
            project=work.project,
            session=work.session,
            accepting=task.round,
            expectation=_expectation(task.expected),
        )

    # ---- up ----

    async def serve(self) -> None:
        """Until its stream ends. Raises Ended."""
        await self._stream.run(self._listen())

    async def _listen(self) -> None:
        while (raw := await self._stream.read()) is not None:
            message = parsed(tier.Upward, raw)
            match message.WhichOneof("kind"):
                case "members":
                    self._members(message.members)
                case "reports":
                    self._reports(message.reports)
                case "work":
                    self._work(message.work)
                case _:
                    raise violated("Attach is said once, at the beginning")

    def _members(self, members: tier.Members) -> None:
        check(members, self._roll)
        self._roll.enter(one.client for one in members.here)
        self.clients.update(one.client for one in members.here)
        self.clients.difference_update(one.client for one in members.gone)
        for one in members.here:
            self._arrived(one.client)
        if members.here:
            self._rounds.here(self.combiner, [_present(one) for one in members.here])
        if members.gone:
            self._rounds.gone(self.combiner, [_present(one) for one in members.gone])

    def _reports(self, reports: tier.Reports) -> None:
        if found := reported(reports, self._roll, self.combiner.id):
            self._rounds.report(self.combiner, found)
        if reports.lost:
            self._rounds.lost(self.combiner, reports.lost)
        for one in reports.declined:
            if not self._is_at(one.client):
                continue
            reason, detail = sayings.why(one.reason, one.detail)
            if one.failed:
                self._door.failed(one.client, one.task, reason, detail)
            else:
                self._rounds.declined(one.client, one.task, Refused(reason, detail))

    def _is_at(self, client: str) -> bool:
        """Whether it is at this combiner, or below it: nobody else knows what it does."""
        return self._rounds.holder(client) == self.combiner.id

    def _work(self, work: tier.Work) -> None:
        for task in sent(work):
            if self._is_at(self._door.asks(task)):
                self._door.sent(task)
        for said in work.said:
            if self._is_at(said.client):
                self._said(said)
        below = self._below.hear(work.below)
        self.combiner.load, self.combiner.held_bytes = combiners.share(work.load), combiners.count(work.held_bytes)
        self.combiner.fold_seconds = combiners.seconds(work.fold_seconds)
        self._rounds.below(self.combiner, below, complete=work.complete)

    def _said(self, said: tier.Said) -> None:
        if said.WhichOneof("kind") != "progress":
            self._door.log(said.client, *sayings.line(said.log))
        elif (point := sayings.curve(said.progress)) is not None:
            self._door.progress(said.client, said.progress.task, *point)


class Links:
    """All of them, by the name of their combiner."""

    def __init__(
        self,
        door: AnyDoor,
        rounds: AnyTier,
        *,
        ticket: Callable[[Combiner], str],
        arrived: Callable[[str], None],
        traffic: Traffic,
    ) -> None:
        self._door, self._rounds, self._ticket, self._arrived = door, rounds, ticket, arrived
        self._traffic = traffic
        self._links: dict[str, Link] = {}
        self._by_holder: dict[str, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def holding(self, holder: str) -> Link | None:
        """The link of the combiner that holds results under this id."""
        return self._by_holder.get(holder)

    def of(self, client: str) -> Link | None:
        """The link of the combiner that a client is connected to."""
        link = self.holding(self._rounds.holder(client))
        return link if link is not None and client in link.clients else None

    async def attach(self, _requests: object, context: Context) -> None:
        """The call: a combiner's stream from Attach to its end."""
        combiner = combiners.combiner(await _greeting(context))
        if not self._rounds.rooted:
            raise Ended(grpc.StatusCode.UNAVAILABLE, "this combiner has no stream to its own parent at the moment")
        link = Link(
            combiner, context, door=self._door, rounds=self._rounds, arrived=self._arrived, traffic=self._traffic
        )
        version = pb.Version(major=VERSION[0], minor=VERSION[1])
        link.say(attached=tier.Attached(version=version, ticket=self._ticket(combiner), holder=combiner.id))
        if (older := self._links.pop(combiner.name, None)) is not None:
            older.end(grpc.StatusCode.ABORTED, "this combiner has a newer stream")
            del self._by_holder[older.combiner.id]
            self._rounds.detached(older.combiner)  # who is not named on the newer one is not there any more
        self._links[combiner.name] = self._by_holder[combiner.id] = link
        try:
            await self._rounds.attach(combiner)
            self._rounds.ready(combiner)
            await link.serve()
        finally:
            if self._links.get(combiner.name) is link:
                del self._links[combiner.name], self._by_holder[combiner.id]
                self._rounds.detached(combiner)

    def servers(self) -> Sequence[ServerView]:
        """The combiners, as a balancer sees them."""
        return [
            ServerView(
                name=link.combiner.name,
                attributes=link.combiner.attributes,
                clients=len(link.clients),
                capacity=link.combiner.capacity,
                load=link.combiner.load,
                state=link.combiner.state,
                addresses=link.combiner.advertise,
            )
            for link in self
        ]

    def dismiss(self) -> None:
        """The server stops."""
        for link in self:
            link.end(grpc.StatusCode.UNAVAILABLE, "the server has stopped")

    # ---- what rounds calls ----

    def reply(self, client: str, answer: Answer, holders: Collection[str] = ()) -> None:
        """A word on a result, to where its client is and to who holds it: the combiner has given its own receipt."""
        if isinstance(answer, Receipt):
            return
        if not self._links:
            return
        at = self.of(client)
        links = [link for holder in holders if (link := self._by_holder.get(holder)) is not None and link is not at]
        if at is not None and at.combiner.id in holders and isinstance(answer, Verdict) and answer.outcome != "lost":
            at.settled(answer)  # `lost` may be of what is no task
        elif at is not None:
            links.append(at)
        if links:
            kind, message = spoken(answer)
            for link in links:
                link.answer(client, **{kind: message})

    def flush(self, holder: str, flush: Flush) -> None:
        """Ask a combiner for what it holds. One that is away is asked when it is back."""
        if (link := self.holding(holder)) is not None:
            link.say(flush=_flush(flush))

    def partial_taken(self, holder: str, session: str, number: int) -> None:
        if (link := self.holding(holder)) is not None:
            link.say(partial_taken=tier.PartialTaken(session=session, number=number))

    def drain_below(self, holder: str, name: str) -> None:
        if (link := self.holding(holder)) is not None:
            link.say(draining=tier.Draining(combiner=name))

    def refold(self, holder: str, session: str, number: int, without: Sequence[str]) -> None:
        if (link := self.holding(holder)) is not None:
            link.say(refold=tier.Refold(session=session, number=number, without=without))


async def _greeting(context: Context) -> tier.Attach:
    message = parsed(tier.Upward, await greeting(context, "Attach"))
    if not message.HasField("attach"):
        raise violated("the first message must be Attach")
    return message.attach


def _present(one: tier.Present) -> Present:
    return Present(one.client, one.instance, one.cause if one.cause in CAUSES else "")


def _expectation(expected: Expected | None) -> tier.Expectation:
    if expected is None:
        return tier.Expectation(blobs=False)
    return tier.Expectation(
        blobs=True,
        largest=expected.largest,
        base_max_abs=expected.base_max_abs,
        max_examples=expected.max_examples,
        max_norm=expected.max_norm or 0.0,
        plain=expected.plain,
        inspect=expected.inspect,
        metrics={name: tier.Range(low=low, high=high) for name, (low, high) in expected.metrics.items()},
    )


def _settled(one: tuple[tuple[str, ...], list[int]]) -> tier.Settled:
    (session, *words), tasks = one
    return tier.Settled(session=session, tasks=gaps(sorted(tasks)), said=spoken(Verdict("", "", *words))[1])


def _flush(flush: Flush) -> tier.Flush:
    return tier.Flush(
        session=flush.session,
        project=flush.project,
        round=flush.round,
        forward=flush.forward,
        delta=flush.delta,
        sets=flush.sets,
        plain=flush.plain,
        exact=flush.exact,
        shares=shares(flush.wanted),
    )
