"""A whole server without a wire, for tests: real rows, blobs, spool and runner; its clients are players in this process."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
from starlette.applications import Starlette

from fedk.admin import admin_app
from fedk.admin.http import HttpServer
from fedk.aggregation.intake import Place
from fedk.api.codec import Safetensors
from fedk.api.errors import Refused
from fedk.api.hooks import AsgiApp
from fedk.app import Aggregators
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.catalogue.gates import Gates
from fedk.cli.inprocess import InProcess
from fedk.rounds.clients import Arrival, Flush, Joining, Measured, Offer, Reply
from fedk.rounds.desk import Desk
from fedk.rounds.door import Door
from fedk.rounds.replay import Replays
from fedk.rounds.runner import Runner
from fedk.rounds.tier import Tier
from fedk.settings import Settings
from fedk.state.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Play:
    """What a player does with a task: an update of the model that it brings, or worse."""

    add: float = 1.0  # to every weight
    loss: float = 1.0
    accuracy: float = 0.5  # of the model that the task brings
    examples: int = 10
    reads: tuple[str, ...] = ()  # settings
    refuse: str = ""  # intake refuses it, for this reason
    fail: str = ""  # the player says so itself
    detail: str = ""
    silent: bool = False  # it never answers


Move = Callable[[Offer], Play]


def plays(play: Play) -> Move:
    """The same whatever the task."""
    return lambda _: play


class Players:
    """What `network` is to a runner. Each player answers at once."""

    def __init__(self, door: Door, spool: Spool) -> None:
        self.door, self.spool = door, spool
        self._moves: dict[str, Move] = {}  # by client id
        self._names: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, name: str, move: Move | Play = Play(), **attributes: str) -> str:  # frozen
        """A client that can do everything; returns its id."""
        kinds = ("init", "train", "validate")
        joined = await self.door.join(Joining("default", name, f"{name}-1", attributes, kinds, (), "player 1"))
        self._names[joined.client] = name
        self._moves[joined.client] = plays(move) if isinstance(move, Play) else move
        self.door.joined(joined.client)
        return joined.client

    def leave(self, client: str, cause: str = "goodbye") -> None:
        """Its stream ends: "goodbye", or "lost"."""
        self.door.leave(client, f"{self._names[client]}-1", cause)

    def offer(self, offer: Offer) -> None:
        task = asyncio.create_task(self._play(offer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, client: str, task: str, reason: str) -> None:
        """Players are done before anybody can cancel."""

    def reply(self, client: str, reply: Reply, holders: Collection[str] = ()) -> None:
        """Players keep no result."""

    def flush(self, holder: str, flush: Flush) -> None:
        """Players are not behind combiners."""

    def partial_taken(self, holder: str, session: str, number: int) -> None:
        """As above."""

    def refold(self, holder: str, session: str, number: int, without: Sequence[str]) -> None:
        """As above."""

    def drain_below(self, holder: str, name: str) -> None:
        """As above."""

    def unreached(self, project: str, name: str, addresses: Collection[str]) -> None:
        """As above."""

    def move(self, holder: str) -> None:
        """As above."""

    def rebalance(self) -> int:
        return 0

    def redirect(self, client: str, addresses: Sequence[str], ticket: str) -> None:
        """As above."""

    def traffic(self, session: str) -> tuple[int, int]:
        return 0, 0

    async def _play(self, offer: Offer) -> None:
        self.door.sent(offer.task)
        play = self._moves[offer.client](offer)
        if play.fail:
            self.door.failed(offer.client, offer.task, play.fail, play.detail)
        elif play.refuse:
            await self.door.refuse(offer.client, offer.task, "r1", Refused(play.refuse, play.detail))
        elif not play.silent:
            await self.answer(offer, play)

    async def answer(self, offer: Offer, play: Play = Play()) -> None:  # frozen
        """A result comes, and its word is said when this returns."""
        await self.door.take(self.arrival(offer, play))

    def arrival(self, offer: Offer, play: Play) -> Arrival:
        """A result whose bytes stand in the spool."""
        work, accuracy = offer.work, {"accuracy": play.accuracy}
        data = _update(offer, play) if work.kind != "validate" else b""
        sha256 = hashlib.sha256(data).digest()
        return Arrival(
            task=offer.task,
            client=offer.client,
            result_id="r1",
            num_examples=play.examples,
            metrics=accuracy if work.kind == "validate" else {"loss": play.loss},
            sha256=sha256,
            span=self.spool.append(work.session, work.round, data) if data else None,
            blobs={"model": Place(0, len(data), sha256)} if data else {},
            max_abs=1.0,
            before={"validate": Measured(play.examples, accuracy)} if work.before else {},
            settings_read=play.reads,
        )


def _update(offer: Offer, play: Play) -> bytes:
    if not offer.work.inputs:
        return weights(0.0)
    inline = offer.work.inputs["model"].inline
    assert inline is not None, "players know small models only"
    found = Safetensors().decode(inline)
    return Safetensors().dumps({name: array + play.add for name, array in found.items()})


def weights(value: float, size: int = 4) -> bytes:
    """A safetensors file with one float64 tensor `w`."""
    return Safetensors().dumps({"w": np.full(size, value)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The rooms of one server, and a client of its REST."""

    data_dir: Path
    settings: Settings
    catalogue: Catalogue
    replays: Replays
    store: Store
    blobs: Blobs
    desk: Desk
    tier: Tier
    runner: Runner
    players: Players
    app: Starlette
    rest: httpx2.AsyncClient

    async def get(self, path: str) -> Any:
        """The document at /api/v1/<path>."""
        return (await self.rest.get(f"/api/v1/{path}")).json()

    async def put(self, data: bytes | None = None) -> str:
        """Upload a model, w = 0 unless given; returns its id."""
        answer = await self.rest.post("/api/v1/models", content=weights(0.0) if data is None else data)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def collected(self) -> None:
        """Returns once what earlier batches have made needless is gone."""
        async with self.runner._turn:  # a batch is heard of before it is over
            pass
        await self.runner.collection.idle()

    async def start(self, name: str = "digits-1", *, until: str, **rules: Any) -> Any:
        """Start a session from model w = 0 and wait for an event of it; returns its document."""
        body = {"name": name, "model": await self.put(), **rules}
        with self.desk.feed.listen() as listener:
            started = await self.rest.post("/api/v1/sessions", json=body)
            assert started.status_code == 201, started.text
            async for event in listener:
                if event.type == until and event.session == started.json()["id"]:
                    break
        return await self.get(f"sessions/{name}")


@asynccontextmanager
async def site(
    data_dir: Path, *, gates: Gates | None = None, plugins: Mapping[str, AsgiApp] | None = None
) -> AsyncIterator[Site]:
    """Open one in `data_dir`, with the embedded defaults."""
    settings = Settings.model_validate({"server": {"data_dir": data_dir}})
    catalogue = Catalogue.scan()
    store = await Store.open(catalogue.create("db", "sqlite"), data_dir, owner="site")
    blobs = Blobs(catalogue.create("storage", "local"), data_dir)
    spool = Spool(data_dir / "spool", settings.limits.spool_bytes)
    runner = Runner(store=store, blobs=blobs, spool=spool, aggregators=Aggregators(catalogue), gates=gates)
    door = Door(runner)
    players, tier = Players(door, spool), Tier(runner, door)
    desk = Desk(runner, tier)
    replays = Replays(store, blobs, Aggregators(catalogue), runner.folds.memory)
    app = admin_app(
        store=store, blobs=blobs, catalogue=catalogue, desk=desk, settings=settings, replays=replays, plugins=plugins
    )
    rest = httpx2.AsyncClient(transport=InProcess(app), base_url="http://site")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await blobs.start()
        stack.push_async_callback(blobs.close)
        await runner.start(players)
        stack.push_async_callback(runner.close)
        await runner.collection.idle()
        await stack.enter_async_context(rest)
        yield Site(
            data_dir=data_dir, settings=settings, catalogue=catalogue, store=store, blobs=blobs, runner=runner,
            desk=desk, tier=tier, players=players, replays=replays, app=app, rest=rest,
        )  # fmt: skip


def prepare(data_dir: Path) -> None:
    """Make the tables. A copy of the directory opens in a tenth of the time: tests that want many sites make one."""

    async def made() -> None:
        await (await Store.open(Catalogue.scan().create("db", "sqlite"), data_dir, owner="site")).close()

    asyncio.run(made())


@dataclass(frozen=True, slots=True)
class Served:
    """A site behind a port, on a loop of its own: for what blocks, as a command line does."""

    site: Site
    url: str
    http: HttpServer
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the site's loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@contextmanager
def served(data_dir: Path) -> Iterator[Served]:
    """Serve one in `data_dir`, on a free port of loopback."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(_serve(data_dir, stack, loop), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(data_dir: Path, stack: AsyncExitStack, loop: asyncio.AbstractEventLoop) -> Served:
    here = await stack.enter_async_context(site(data_dir))
    http = HttpServer(here.app)
    url = f"http://{await http.open('127.0.0.1:0')}"
    stack.push_async_callback(http.close)
    stack.callback(here.desk.feed.close)  # streams of events end before the server that sends them
    here.store.announce(url)
    return Served(here, url, http, loop)
