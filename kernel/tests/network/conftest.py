"""A server on loopback: real rows, blobs, spool, runner and gRPC. Clients are scripted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedk.api.codec import Safetensors
from fedk.app import Aggregators
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.network import member
from fedk.network.listener import Keepalive
from fedk.network.server import Network
from fedk.rounds import batch
from fedk.rounds.clients import Joined, Joining
from fedk.rounds.desk import Desk
from fedk.rounds.door import Door
from fedk.rounds.feed import Listener, Published
from fedk.rounds.rules import Rules
from fedk.rounds.runner import Runner
from fedk.rounds.tier import Tier
from fedk.settings import Settings
from fedk.state.store import Store
from fedk.testing.protocol import ScriptedClient

LARGE = 100_000
"""Weights of a model that is too large for a message: 400 kB."""


def weights(value: float = 0.0, size: int = 4) -> bytes:
    """A model: one float32 tensor `w`."""
    return Safetensors().dumps({"w": np.full(size, value, np.float32)})


@pytest.fixture(autouse=True)
def prompt_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests wait for them."""
    monkeypatch.setattr(member, "RECEIPT", 0.0)


@pytest.fixture(autouse=True)
def models_in_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is just now: the answer to the last result of a round is its verdict."""
    monkeypatch.setattr(batch, "SOON", 60.0)


@dataclass
class House:
    """One server, and what a test needs of it."""

    settings: Settings
    blobs: Blobs
    spool: Spool
    runner: Runner
    desk: Desk
    network: Network
    heard: Listener
    address: str = ""
    doors: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def client(self, name: str, **fields: Any) -> ScriptedClient:
        """Not yet joined."""
        return await self.doors.enter_async_context(ScriptedClient(self.address, name, **fields))

    async def joined(self, name: str, **hello: Any) -> ScriptedClient:
        client = await self.client(name)
        await client.join(**hello)
        return client

    async def session(self, name: str = "digits-1", *, size: int = 4, select: str = "random", **rules: Any) -> str:
        """Start a session from model w = 0, of one round unless `rules` say more. Returns its id."""
        model = await self.desk.put_model("default", await self.blobs.put("default", weights(size=size)))
        return await self.desk.create("default", name=name, stem="", rules=self.rules(select, **rules), model=model)

    def hold_joining(self) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on a client's joining sets the first event, and waits for the second before it is written down."""
        reached, go = asyncio.Event(), asyncio.Event()
        door = self.network._members._door
        join = door.join

        async def late(joining: Joining, holder: str = "") -> Joined:
            reached.set()
            await go.wait()
            return await join(joining, holder)

        door.join = late  # type: ignore[method-assign]  # the same, later
        return reached, go

    def rules(self, select: str = "random", **given: Any) -> Rules:
        """One client is enough, and nobody validates."""
        return Rules.model_validate({"clients": {"min": 1, "select": select}, "validation": {"every": 0}, **given})

    async def event(self, type_: str) -> Published:
        """The next event of that type; others are passed over."""
        async for event in self.heard:
            if event.type == type_:
                return event
        raise AssertionError(f"no {type_}: the feed has ended")


@asynccontextmanager
async def opened(data_dir: Path, *, address: str = "127.0.0.1:0", **given: Any) -> AsyncIterator[House]:
    """`given`: tables of the settings, and `keepalive`."""
    keepalive = given.pop("keepalive", Keepalive())
    settings = Settings.model_validate({"server": {"data_dir": str(data_dir)}, **given})
    catalogue = Catalogue.scan()

    store = await Store.open(catalogue.create("db", "sqlite"), data_dir, owner="test")
    blobs = Blobs(catalogue.create("storage", "local"), data_dir)
    await blobs.start()
    spool = Spool(data_dir / "spool", settings.limits.spool_bytes)
    runner = Runner(store=store, blobs=blobs, spool=spool, aggregators=Aggregators(catalogue))
    balancer = catalogue.create("balancer", "least-loaded")
    door = Door(runner)
    tier = Tier(runner, door)
    network = Network(door, spool, settings=settings, balancer=balancer, tier=tier, keepalive=keepalive)
    try:
        await runner.start(network)
        with runner.feed.listen() as heard:
            house = House(settings, blobs, spool, runner, Desk(runner, tier), network, heard)
            house.address = await network.start(address)
            async with house.doors:
                yield house
    finally:
        await network.stop()
        await tier.close()
        await runner.close()
        await blobs.close()
        await store.close()
        spool.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path / "data") as here:
        yield here
