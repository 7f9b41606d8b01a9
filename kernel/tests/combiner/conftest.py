"""A combiner in the middle, with its disk; what it says up and down is written down."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from fedk.aggregation.intake import Place
from fedk.aggregation.model import Model
from fedk.api.errors import FedkError, StateError
from fedk.blobs.spool import Spool
from fedk.combiner import words
from fedk.combiner.below import Below
from fedk.combiner.children import Children
from fedk.combiner.columns import numbers
from fedk.combiner.flushes import Flushes
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.partials import Order, Partials
from fedk.combiner.relay import Relay
from fedk.rounds.clients import Arrival, Flush, Joined, Joining, Offer, Reply, Wanted
from fedk.rounds.combiners import Combiner
from fedk.rounds.live import Summed
from fedk.rounds.states import task_id
from fedk.state.store import Store
from fedk_plugin_sqlite import Sqlite, SqliteConfig
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import tier_pb2 as tier

SESSION = "s1"
BASE = Safetensors().dumps({"w": np.zeros(3, np.float32)})
BASE_HASH = hashlib.sha256(BASE).digest()

Vector = NDArray[np.float32]


def update(task: str) -> Vector:
    """What the client of a task answers: whole numbers, whose sums are exact."""
    return np.arange(3, dtype=np.float32) + np.float32(sum(task.encode()))


def weight(task: str) -> float:
    return 1.0 + sum(task.encode()) % 7


class Above:
    """`fedk.combiner.parent.Parent`, which takes everything, unless the test says what it says instead, once each."""

    def __init__(self) -> None:
        self.is_here = True
        self.here: list[str] = []
        self.gone: list[str] = []
        self.reported: list[str] = []
        self.sent_: list[tuple[str, bool]] = []
        self.lost: asyncio.Queue[str] = asyncio.Queue()
        self.delivered: asyncio.Queue[tuple[tier.Delivery, bytes]] = asyncio.Queue()
        self.refusals = asyncio.Queue[FedkError]()
        self.damaged = asyncio.Queue[bytes]()
        """What comes instead of the model's bytes, once each."""

    def changed(self) -> None:
        """Nobody looks."""

    def members(self, here: Iterable[tier.Present] = (), gone: Iterable[tier.Present] = ()) -> None:
        self.here += [one.client for one in here]
        self.gone += [one.client for one in gone]

    def report(self, held: Iterable[Arrival] = (), lost: Iterable[str] = ()) -> None:
        self.reported += [one.task for one in held]
        for task in lost:
            self.lost.put_nowait(task)

    def declined(self, one: tier.Declined) -> None:
        """Nobody looks."""

    def sent(self, task: str, *, soon: bool) -> None:
        self.sent_.append((task, soon))

    def said(self, one: tier.Said) -> None:
        """As above."""

    async def join(self, joining: Joining) -> Joined:
        return Joined(joining.name, ())

    async def ask(self, client: str, task: str, result_id: str) -> Reply | None:
        return None

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        assert sha256 == BASE_HASH
        write(BASE if self.damaged.empty() else self.damaged.get_nowait())

    async def deliver(self, first: tier.Delivery, files: Iterable[tuple[Path, int, int]]) -> None:
        if not self.is_here:
            raise StateError("the parent of this combiner is away")
        if not self.refusals.empty():
            self.refusals.task_done()
            raise self.refusals.get_nowait()
        data = b"".join(path.read_bytes()[at : at + size] for path, at, size in files)
        self.delivered.put_nowait((first, data))

    async def partial(self) -> tuple[list[str], list[float]]:
        """Tasks of the next sum that comes, and the sum."""
        first, data = await self.delivered.get()
        tasks = sorted(task_id(first.partial.session, number) for number in numbers(first.partial.tasks))
        values = load(data)["w"]
        if first.partial.raw:
            values = values * weight(tasks[0])
        return tasks, values.tolist()


class Downward:
    """`fedk.rounds.clients.Clients`: what is said to clients and to combiners below."""

    def __init__(self) -> None:
        self.flushes: asyncio.Queue[tuple[str, Flush]] = asyncio.Queue()
        self.taken: list[tuple[str, int]] = []
        self.refolded: list[tuple[str, int, list[str]]] = []
        self.moved: list[str] = []
        self.replies: list[tuple[str, Reply, tuple[str, ...]]] = []
        self.offered: asyncio.Queue[str] = asyncio.Queue()

    async def asked(self) -> tuple[str, list[str]]:
        """The next combiner that is asked, and for which tasks."""
        holder, flush = await self.flushes.get()
        return holder, [one.task for one in flush.wanted]

    def offer(self, offer: Offer) -> None:
        self.offered.put_nowait(offer.task)

    def cancel(self, client: str, task: str, reason: str) -> None:
        """Nobody looks."""

    def reply(self, client: str, reply: Reply, holders: Collection[str] = ()) -> None:
        self.replies.append((client, reply, tuple(holders)))

    def flush(self, holder: str, flush: Flush) -> None:
        self.flushes.put_nowait((holder, flush))

    def partial_taken(self, holder: str, session: str, number: int) -> None:
        self.taken.append((holder, number))

    def refold(self, holder: str, session: str, number: int, without: Sequence[str]) -> None:
        self.refolded.append((holder, number, list(without)))

    def drain_below(self, holder: str, name: str) -> None:
        """Nobody looks."""

    def unreached(self, project: str, name: str, addresses: Collection[str]) -> None:
        """As above."""

    def move(self, holder: str) -> None:
        self.moved.append(holder)

    def rebalance(self) -> int:
        return 0

    def redirect(self, client: str, addresses: Sequence[str], ticket: str) -> None:
        """Nobody looks."""

    def traffic(self, session: str) -> tuple[int, int]:
        return 0, 0


class Middle:
    """One life of a combiner over `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.above, self.down = Above(), Downward()
        self._ending = AsyncExitStack()
        self._numbers = iter(range(1, 1_000))

    async def start(self, grace: float = 60.0) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        self.store = await Store.open(Sqlite(SqliteConfig()), self.folder / "data", owner="test")
        self._ending.push_async_callback(self.store.close)
        self.spool = spool = Spool(self.folder / "spool", 2**30)
        self._ending.callback(spool.close)
        self.holdings = Holdings(self.store, spool, self.above)
        self.partials = Partials(self.store, self.folder / "partials")
        await self.holdings.start()
        await self.partials.start(self.holdings.get)
        self._ending.push_async_callback(self.holdings.close)
        self.below = Below(spool)
        held: dict[str, Any] = {
            "holdings": self.holdings,
            "inputs": Inputs(self.folder / "inputs"),
            "spool": spool,
            "below": self.below,
            "parent": self.above,
        }
        self.flushes = Flushes(partials=self.partials, **held)
        self._ending.push_async_callback(self.flushes.close)
        self.relay = Relay(flushes=self.flushes, codecs=lambda _name, _settings: None, **held)
        self._ending.push_async_callback(self.relay.close)
        more: dict[str, Any] = {"relay": self.relay, "flushes": self.flushes, "store": self.store, "grace": grace}
        self.children = Children("middle", **more, **held)
        await self.children.start(self.down)
        self._ending.push_async_callback(self.children.close)
        self.relay.start(self.down, self.children)
        self.relay.attached()

    async def end(self) -> None:
        await self._ending.aclose()

    async def child(self, name: str, generation: str = "0" * 8) -> Combiner:
        """A combiner below that attaches."""
        combiner = Combiner(name, generation, ("there:1",))
        await self.children.attach(combiner)
        self.children.ready(combiner)
        return combiner

    def report(self, child: Combiner, *tasks: str, complete: bool = True) -> None:
        """It holds the results of these, and perhaps of others."""
        self.children.report(child, [arrival(task, via=(child.id,)) for task in tasks])
        self.children.below(child, (), complete=complete)

    async def hold(self, *tasks: str) -> None:
        """Results that clients of this combiner have answered."""
        for task in tasks:
            data = Safetensors().dumps({"w": update(task)})
            span = self.spool.append(SESSION, 1, data)
            await self.holdings.put(Held(arrival(task), span))

    def flush(self, *tasks: str, forward: bool = False) -> None:
        """The parent asks for these."""
        message = tier.Flush(
            session=SESSION, project="default", round=1, forward=forward, shares=words.shares(map(share, tasks))
        )
        self.relay.flush(words.flush(message))

    async def bring(self, child: Combiner, *tasks: str) -> int:
        """A sum of these comes from a combiner below; its number."""
        number = next(self._numbers)
        summed = await self._summed(f"{child.id}#{number}", tasks)
        await self.children.partial(child, number, summed, SESSION)
        return number

    async def _summed(self, name: str, tasks: Collection[str]) -> Summed:
        blobs, raw, total, data = await asyncio.to_thread(self._added_up, tasks)
        upload = self.spool.upload(SESSION, f"{SESSION}.{name}", "sum", len(data))
        upload.write(data)
        await upload.sync()
        upload.close()
        return Summed(name, 1, frozenset(tasks), upload.span, blobs, raw, total)

    def _added_up(self, tasks: Collection[str]) -> tuple[Mapping[str, Place], bool, str, bytes]:
        path = self.folder / "below"
        held = [Held(arrival(task), None) for task in tasks]
        base = self.folder / "base"
        base.write_bytes(BASE)
        order = Order(delta=False, sets=(), plain=(), exact=False)
        with Model.open(_whole(base)) as model:
            parts = [words.contribution(share(one.task), _with_bytes(self.folder, one), model) for one in held]
            return *self.partials._add_up(path, parts, (), model, order), path.read_bytes()

    async def give(self, child: Combiner, task: str) -> None:
        """A result as it came, from a combiner below."""
        known = self.children.awaits(child, task)
        assert known is not None
        span = self.spool.append(SESSION, 1, Safetensors().dumps({"w": update(task)}))
        await self.children.forwarded(child, arrival(task, via=(child.id,), span=span))


def _whole(path: Path) -> Any:
    from fedk.blobs.reader import Span  # noqa: PLC0415  # of files beside the spool only

    return Span(str(path), 0, path.stat().st_size)


def _with_bytes(folder: Path, held: Held) -> Held:
    path = folder / f"{held.task}.update"
    path.write_bytes(Safetensors().dumps({"w": update(held.task)}))
    return Held(held.arrival, _whole(path))


def arrival(task: str, **more: Any) -> Arrival:
    data = Safetensors().dumps({"w": update(task)})
    sha256 = hashlib.sha256(data).digest()
    blobs = {"model": Place(0, len(data), sha256)}
    return Arrival(task, f"client-{task}", "r1", 1, {}, sha256, blobs=blobs, project="default", **more)


def share(task: str) -> Wanted:
    return Wanted(task, arrival(task).sha256, weight(task), 1.0, BASE_HASH)


def total(*tasks: str) -> tuple[list[str], list[float]]:
    """What a sum of these says."""
    return sorted(tasks), np.sum([weight(task) * update(task).astype(float) for task in tasks], axis=0).tolist()


Begin = Callable[..., Awaitable[Middle]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Lives of one combiner, each after the end of the one before; the last one ends with the test."""
    async with AsyncExitStack() as ending:

        async def started(grace: float = 60.0) -> Middle:
            found = Middle(tmp_path)
            ending.push_async_callback(found.end)
            await found.start(grace)
            return found

        yield started


@pytest.fixture
async def middle(begin: Begin) -> Middle:
    return await begin()
