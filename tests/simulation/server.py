"""One life of a server: every room of it but gRPC, over files that outlive it and may fail."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.simulation.clock import Executor, World
from tests.simulation.invariants import watch

from fedk.api.errors import Refused, StateError
from fedk.api.hooks import ClientFacts, SessionFacts
from fedk.app import Aggregators
from fedk.blobs.disk import Bytes
from fedk.blobs.hold import Hold
from fedk.blobs.part import Part
from fedk.blobs.reader import Span
from fedk.blobs.spool import START, Spool
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.catalogue.gates import Gates
from fedk.network.calls import Ended
from fedk.network.server import Network
from fedk.rounds.budget import Budget
from fedk.rounds.desk import Desk
from fedk.rounds.door import Door
from fedk.rounds.replay import Replayed, Replays
from fedk.rounds.runner import Runner
from fedk.rounds.tier import Tier
from fedk.settings import Settings
from fedk.state import tables as t
from fedk.state.errors import ConnectionLost, DiskFull
from fedk.state.store import Store

if TYPE_CHECKING:
    from tests.simulation.federation import Plan
    from tests.simulation.wire import Wire


FROM = 4.0
"""Second at which what fails for long begins to: by then sessions run."""


class StrictGates(Gates):
    """A gate that admits nobody before its time. Real ones run in threads, in real time."""

    def __init__(self, world: World, opens: float) -> None:
        super().__init__()
        self.world, self.opens = world, opens

    def has(self, hook: str) -> bool:
        return hook == "clients_selected" and self.opens > 0

    async def select(self, session: SessionFacts, clients: Sequence[ClientFacts]) -> tuple[set[str], tuple[str, ...]]:
        return (set(), ("strict",)) if self.world.now < self.opens else ({client.name for client in clients}, ())


class FaultyStore(Store):
    """Transactions that fail before anything is written, before the commit, or after it: the outcome is unknown."""

    world: World
    unwritten = 0.0  # seconds

    def __init__(self, *engines: Any, blocking: Engine | None = None, **more: Any) -> None:
        """Statement by statement: every place between two is one to crash at. A transaction in one go has none."""
        super().__init__(*engines, **more)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        if FROM < self.world.now < FROM + self.unwritten and not self.world.dying:
            self.world.tries += 1
            raise DiskFull("the database cannot grow")
        if self.world.chance(0.01):
            raise DiskFull("the database cannot grow")
        async with super().transaction() as connection:
            yield connection
            if self.world.chance(0.01):
                raise DiskFull("the database could not grow")
        if self.world.chance(0.01):
            raise ConnectionLost("the answer to the commit was lost")


class FaultySpool(Spool):
    """Knows what of it has been synced: a power cut takes the rest."""

    def __init__(self, root: Path, limit: int, world: World) -> None:
        self._world = world
        self.synced: dict[str, int] = {}
        super().__init__(root, limit)
        self._cleaner = Executor(world)  # type: ignore[assignment]  # as much of one as it needs
        for path in self.root.rglob("*"):
            if path.is_file():
                self.synced[self._name(path)] = path.stat().st_size

    def _name(self, path: str | Path) -> str:
        return str(Path(path).relative_to(self.root))

    def append(self, session: str, number: int, data: Bytes, *, project: str = "default") -> Span:
        if self._world.chance(0.01):
            raise Refused("spool-full", "no space left")
        return super().append(session, number, data, project=project)

    def _fsync(self, paths: Sequence[str]) -> None:
        if self._world.chance(0.002):
            self._broken = "the disk is gone"
            raise StateError(self._broken)
        super()._fsync(paths)
        for path in paths:
            self._mark(path)

    def _synced(self, path: str) -> None:
        self._mark(path)
        super()._synced(path)

    def _mark(self, path: str) -> None:
        if Path(path).is_file():
            self.synced[self._name(path)] = Path(path).stat().st_size

    def cut_power(self, root: Path) -> None:
        """In a copy of this spool at `root`: zeros instead of what nobody has synced of each file, whose length stays."""
        for path in root.rglob("*"):
            if path.is_file():
                size, length = self.synced.get(str(path.relative_to(root)), 0), path.stat().st_size
                with path.open("r+b") as file:
                    file.truncate(min(size, length))
                    file.truncate(length)
        (root / START).write_text("before")  # the system starts again


class FaultyPart(Part):
    """May find the storage full."""

    world: World
    full = 0.0  # seconds

    def seal(self):  # type: ignore[no-untyped-def]  # as Part has it
        if FROM < self.world.now < FROM + self.full:
            self.world.tries += 1
            raise StateError("storage could not make durable: no space left")
        if self.world.chance(0.02):
            raise StateError("storage could not make durable: no space left")
        return super().seal()


class FaultyBlobs(Blobs):
    """Writes its blobs in parts that may fail."""

    world: World
    full = 0.0

    def _part(self, project: str, hold: Hold) -> Part:
        part = FaultyPart(self._open_shelf, project, hold, self._sealed)
        part.world, part.full = self.world, self.full
        return part


class Server:
    """From the rows to the wire. `data_dir` is its own: a crash goes on in a copy."""

    def __init__(self, world: World, data_dir: Path, catalogue: Catalogue, gates: Gates, plan: "Plan") -> None:
        self.world, self.data_dir, self.catalogue, self.gates, self.plan = world, data_dir, catalogue, gates, plan
        self.listening = False
        self.calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        settings = Settings.model_validate({"server": {"data_dir": self.data_dir}})
        FaultyStore.world = FaultyBlobs.world = self.world
        FaultyStore.unwritten, FaultyBlobs.full = self.plan.unwritten, self.plan.full
        self.store = await FaultyStore.open(self.catalogue.create("db", "sqlite"), self.data_dir, owner="simulated")
        self.blobs = FaultyBlobs(self.catalogue.create("storage", "local"), self.data_dir)
        await self.blobs.start()
        self.spool = FaultySpool(self.data_dir / "spool", settings.limits.spool_bytes, self.world)
        self.runner = Runner(
            store=self.store,
            blobs=self.blobs,
            spool=self.spool,
            aggregators=Aggregators(self.catalogue),
            gates=self.gates,
        )
        watch(self.runner)
        self.door = Door(self.runner)
        tier = Tier(self.runner, self.door)
        self.desk = Desk(self.runner, tier)
        balancer = self.catalogue.create("balancer", "least-loaded")
        self.network = Network(self.door, self.spool, settings=settings, balancer=balancer, tier=tier)
        await self.runner.start(self.network)
        self.listening = True

    @property
    def broken(self) -> BaseException | None:
        """Why it has ended by itself."""
        future = self.runner.broken if self.listening else None
        return future.exception() if future is not None and future.done() else None

    def serve(self, wire: "Wire") -> None:
        """A stream has been opened."""
        self._call(wire, self.network._members.connect(None, wire))  # type: ignore[arg-type]  # what it needs of a context

    def take_upload(self, wire: "Wire") -> None:
        self._call(wire, self._upload(wire))

    async def _upload(self, wire: "Wire") -> None:
        await wire.write(await self.network._upload(None, wire))  # type: ignore[arg-type]  # as above

    def _call(self, wire: "Wire", call) -> None:  # type: ignore[no-untyped-def]  # a coroutine
        async def guarded() -> None:
            with suppress(Ended, StateError):
                await call
            wire.end()

        task = asyncio.get_running_loop().create_task(guarded())
        self.calls.add(task)
        task.add_done_callback(self.calls.discard)
        wire.call = task

    async def replayed(self) -> dict[str, Replayed]:
        """What a replay says of each model, by SESSION/ROUND."""
        replays = Replays(self.store, self.blobs, Aggregators(self.catalogue), Budget(2**30))
        async with self.store.reading() as db:
            wanted = select(t.models.c.id, t.models.c.session, t.models.c.round).where(t.models.c.session.is_not(None))
            models = (await db.execute(wanted)).all()
        return {f"{one.session}/{one.round}": await replays.replay(one.id) for one in models}

    async def close(self) -> None:
        """In order, as on a signal."""
        self.listening = False
        await self.network.stop()
        if self.calls:
            await asyncio.wait(self.calls)
        await self.runner.close()
        self.spool.close()
        await self.blobs.close()
        await self.store.close()

    async def bury(self) -> None:
        """After a crash: end what is left of it, whatever it says."""
        self.listening = False
        rest: Iterable[asyncio.Task[object]] = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if hasattr(self, "runner"):
            for live in self.runner.lives.values():
                live.close()
        if hasattr(self, "store"):
            await self.store.close()


def copied(data_dir: Path, target: Path, spool: FaultySpool | None, *, power: bool) -> None:
    """The files as a crash leaves them."""
    shutil.copytree(data_dir, target)
    if power and spool is not None:
        spool.cut_power(target / "spool")
