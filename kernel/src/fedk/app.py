"""The composition root: the only place that knows all rooms."""

import asyncio
import json
import logging
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from fedk.admin.app import TAKEN, admin_app
from fedk.admin.health import combiner_app
from fedk.admin.http import HttpServer
from fedk.aggregation.composition import composed
from fedk.api.aggregator import AnyAggregator
from fedk.api.codec import BlockCodec
from fedk.api.errors import FedkError, PluginError
from fedk.api.hooks import Event, ServerFacts
from fedk.blobs import disk
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.catalogue.extensions import routes
from fedk.catalogue.gates import Gates
from fedk.catalogue.hooks import enable
from fedk.catalogue.implementation import HOOKS
from fedk.catalogue.observers import Observers
from fedk.combiner import words
from fedk.combiner.below import Below
from fedk.combiner.children import Children
from fedk.combiner.flushes import Flushes
from fedk.combiner.holdings import Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.partials import Partials
from fedk.combiner.relay import Relay
from fedk.network.server import Network
from fedk.network.uplink import Uplink
from fedk.rounds.coding import Coding
from fedk.rounds.desk import Desk
from fedk.rounds.door import Door
from fedk.rounds.feed import Feed, Published
from fedk.rounds.loaded import Loaded, Part
from fedk.rounds.replay import Replays
from fedk.rounds.rules import VERSION, Rules
from fedk.rounds.runner import Runner
from fedk.rounds.tier import Tier
from fedk.settings import Settings
from fedk.state.store import Store
from fedk_protocol.v1 import tier_pb2 as tier_words

log = logging.getLogger("fedk.server")

LAST_ANSWERS = 10.0
"""Seconds that answers under way are taken for after the first signal."""


@dataclass(frozen=True, slots=True)
class Aggregators:
    """The catalogue, as sessions ask it."""

    catalogue: Catalogue

    def __call__(self, rules: Rules) -> Loaded:
        use, wrap, then = rules.aggregator.names
        tables = rules.aggregator.tables
        first = self._part(use, tables, "use")
        around = [self._part(name, tables, "wrap") for name in wrap]
        after = self._part(then, tables, "then") if then else None
        whole = composed(first.driver, [part.driver for part in around], after.driver if after else None)
        if rules.mode == "async" and whole.once:
            raise PluginError(f'{first.name} takes each client once a model: not with mode = "async"')
        name = "".join(f"{part.name}(" for part in around) + first.name + ")" * len(around)
        config = first.config if not (around or after) else _composition(first, around, after)
        if coding := self._coding(rules):
            config = {"aggregator": config, "codec": coding.config}
        parts = tuple(Part(one.name, one.version, one.distribution) for one in (first, *around, after) if one)
        return Loaded(whole, f"{name} then {after.name}" if after else name, first.version, config, parts, coding)

    def _coding(self, rules: Rules) -> Coding | None:
        use = rules.codec.use
        if not use:
            return None
        plugin = self.catalogue.load("codec", use, where="codec.use")
        return Coding(Codecs(self.catalogue)(use, rules.codec.tables), plugin.version)

    def _part(self, use: str, tables: Mapping[str, Any], key: str) -> "_Part":
        plugin = self.catalogue.load("aggregator", use, where=f"aggregator.{key}")
        driver = self.catalogue.create("aggregator", use, tables, where=f"aggregator.{key}")
        return _Part(driver, plugin.name, plugin.version, plugin.distribution)


@dataclass(frozen=True, slots=True)
class Codecs:
    """The catalogue's, for updates."""

    catalogue: Catalogue

    def __call__(self, use: str, tables: Mapping[str, Any]) -> BlockCodec:
        """PluginError: it cannot be used; ConfigError: its table is wrong."""
        codec = self.catalogue.create("codec", use, tables, where="codec.use")
        if not isinstance(codec, BlockCodec):
            raise PluginError(f'codec "{use}" is for whole models: updates travel in a BlockCodec (codec.use)')
        return codec

    def told(self, use: str, settings: str) -> BlockCodec | None:
        """One that a parent's task names, with its settings as JSON; None where this server cannot use it."""
        try:
            return self(use, {use: json.loads(settings or "{}")})
        except FedkError as error:
            log.warning("updates come natively here: %s", error)
            return None


@dataclass(frozen=True, slots=True)
class _Part:
    """One aggregator of a composition."""

    driver: AnyAggregator[Any]
    name: str
    version: str
    distribution: str

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.driver.config.model_dump(mode="json")
        return found


def _composition(first: _Part, around: Sequence[_Part], after: _Part | None) -> dict[str, Any]:
    """For the trail: each part with its version and settings."""
    roles = [("use", first), *(("wrap", part) for part in around), *([("then", after)] if after else [])]
    return {"parts": [[role, part.name, part.version, part.config] for role, part in roles]}


class Hooks:
    """The hook plugins of the configuration: who is told, who is asked."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        wanted = settings.plugins
        self.enabled = enable(catalogue, wanted.hooks, settings.hooks, strict=wanted.strict)
        self.gates = Gates(self.enabled, seconds=wanted.gate_seconds)
        self.observers = Observers(self.enabled, budget=wanted.budget, failed=self._say)
        self._feed: Feed | None = None
        self._hearing: asyncio.Task[None] | None = None

    def listen(self, feed: Feed) -> None:
        """Tell observers of what is published from now on."""
        self._feed = feed
        if self.observers:
            self.observers.start()
            self._hearing = asyncio.create_task(self._hear(feed))

    async def _hear(self, feed: Feed) -> None:
        # without end: nobody listens again for it, and a transaction may tell of more clients than others may be behind
        with feed.listen(backlog=inf) as listener:
            async for e in listener:
                event = Event(e.type, e.project, e.session, e.body, e.at, e.seq)
                but = e.body.get("plugin", "") if e.type.startswith("hook.") else ""  # not of its own failure
                self.observers.notify("event", but=but, event=event)
                if (own := e.type.replace(".", "_")) in HOOKS:
                    self.observers.notify(own, event=event)

    def _say(self, type_: str, body: Mapping[str, Any]) -> None:
        if self._feed is not None:
            self._feed.publish([Published(0, "", None, type_, body, time.time())])

    async def close(self) -> None:
        """Tell them what is left to tell."""
        if self._hearing is not None:
            await self._hearing
        await self.observers.close()
        for plugin in self.enabled:
            plugin.close()


class _OfAnyRole(ABC):
    """What is opened one after the other, and closed in the opposite order."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.settings, self.catalogue = settings, catalogue
        self.data_dir = settings.server.data_dir.resolve()
        self.listen = self.admin = ""
        self._closing: list[Callable[[], Awaitable[Any]]] = []

    async def start(self) -> None:
        """Open what is durable, then listen. Whatever was opened is closed again when a later part fails."""
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    @abstractmethod
    async def _open(self) -> None:
        """Open each part, and say how it is closed."""

    async def close(self) -> None:
        """Let go of everything, in the opposite order."""
        while self._closing:
            await self._closing.pop()()

    def _driver(self, kind: str, choice: Any) -> Any:
        return self.catalogue.create(kind, choice.use, choice.tables, where=f"{kind}.use")

    async def _store(self) -> Store:
        owner = f"{socket.gethostname()}:{os.getpid()}"
        store = await Store.open(
            self._driver("db", self.settings.db), self.data_dir, owner=owner, rules_version=VERSION
        )
        self._closing.append(store.close)
        return store

    def _spool(self) -> Spool:
        spool = Spool(self.data_dir / "spool", self.settings.limits.spool_bytes)
        self._closing.append(_after(spool.close))
        return spool


class Server(_OfAnyRole):
    """One server in this process: its drivers, its rooms, its two listeners."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        super().__init__(settings, catalogue)
        self.facts: ServerFacts | None = None  # once it listens, until it stops

    async def _open(self) -> None:
        s = self.settings
        self.store = await self._store()
        self.blobs = Blobs(self._driver("storage", s.storage), self.data_dir)
        await self.blobs.start()
        self._closing.append(self.blobs.close)
        spool = self._spool()
        self.hooks = Hooks(self.catalogue, s)
        self._closing.append(self.hooks.close)
        self.runner = Runner(
            store=self.store,
            blobs=self.blobs,
            spool=spool,
            aggregators=Aggregators(self.catalogue),
            gates=self.hooks.gates,
            accumulators=s.limits.accumulators,
        )
        door = Door(self.runner)
        self.tier = Tier(self.runner, door)
        self.desk = Desk(self.runner, self.tier)
        balancer = self._driver("balancer", s.balancer)
        self.network = Network(door, spool, settings=s, balancer=balancer, plugins=self.hooks.enabled, tier=self.tier)
        self.http = HttpServer(
            admin_app(
                store=self.store,
                blobs=self.blobs,
                catalogue=self.catalogue,
                desk=self.desk,
                settings=s,
                replays=Replays(self.store, self.blobs, Aggregators(self.catalogue), self.runner.folds.memory),
                plugins=routes(self.hooks.enabled, TAKEN),
            )
        )
        self.hooks.listen(self.desk.feed)
        await self.runner.start(self.network)
        self._closing.append(self.runner.close)
        self.tier.begin()
        self._closing.append(self.tier.close)
        self.admin = await self.http.open(s.server.admin)
        self._closing.append(self.http.close)
        self.listen = await self.network.start(s.server.listen)
        self._closing.append(self.network.stop)
        self.store.announce(f"http://{self.admin}")
        self.facts = ServerFacts(
            name=s.server.name,
            version=version("fedk"),
            listen=self.listen,
            admin=self.admin,
            data_dir=self.data_dir,
            role=s.server.role,
            sessions={session: live.state.status for session, live in self.runner.lives.items()},
        )
        self.hooks.observers.notify("server_started", server=self.facts)

    async def close(self) -> None:
        """Let go of everything, in the opposite order."""
        self._stopping()
        if hasattr(self, "desk"):
            self.desk.feed.close()  # or streams of events would outlive their last words
        await super().close()

    @property
    def broken(self) -> "asyncio.Future[None]":
        """Done, with the reason, when it cannot go on."""
        assert self.runner.broken is not None  # noqa: S101  # start() made it
        return self.runner.broken

    async def drain(self) -> None:
        """No new task; answers under way are taken until their clients have none, or for LAST_ANSWERS."""
        self._stopping()
        await self.network.drain(LAST_ANSWERS)

    def _stopping(self) -> None:
        if self.facts is not None:
            self.hooks.observers.notify("server_stopping", server=self.facts)
            self.facts = None

    def banner(self) -> str:
        """The first line: what listens where, on what."""
        infos = self.catalogue.entries()
        active = sum(info.state == "active" for info in infos)
        failed = sum(info.state in ("failed", "missing", "incompatible") for info in infos)
        s = self.settings
        return (
            f"fedk {version('fedk')} {s.server.role}, ready   clients {self.listen}   admin http://{self.admin}   "
            f"data {s.server.data_dir} ({s.db.use}, {s.storage.use})   plugins {active} active, {failed} failed"
        )


class Combiner(_OfAnyRole):
    """An aggregation server between clients and its parent: bytes are its own, what is made of them is not."""

    @property
    def broken(self) -> "asyncio.Future[None]":
        """Never: what fails here is said to the parent or the client, and tried again."""
        return self._broken

    async def start(self) -> None:
        """Open what is durable, listen, then dial the parent."""
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await super().start()

    async def _open(self) -> None:
        s = self.settings
        self.store = await self._store()
        spool = self._spool()
        attach = tier_words.Attach(
            name=s.server.name,
            generation=generation(self.data_dir),
            attributes=s.server.attributes,
            capacity=s.server.capacity,
            instance=secrets.token_hex(8),
        )
        self.uplink = parent = Uplink(s.server.parent, attach)
        self.holdings = holdings = Holdings(self.store, spool, parent)
        partials = Partials(self.store, self.data_dir / "partials")
        await holdings.start()
        self._closing.append(holdings.close)
        await partials.start(holdings.get)
        inputs, below = Inputs(self.data_dir / "inputs"), Below(spool)
        held: Any = {"holdings": holdings, "inputs": inputs, "spool": spool, "below": below, "parent": parent}
        flushes = Flushes(partials=partials, **held)
        self._closing.append(flushes.close)
        codecs = lru_cache(64)(Codecs(self.catalogue).told)  # asked each round, and said once
        relay = Relay(flushes=flushes, codecs=codecs, **held)
        self._closing.append(relay.close)
        children = Children(s.server.name, relay=relay, flushes=flushes, store=self.store, **held)
        balancer = self._driver("balancer", s.balancer)
        self.network = Network(relay, spool, settings=s, balancer=balancer, tier=children)
        await children.start(self.network)
        self._closing.append(children.close)
        relay.start(self.network, children)
        self.http = HttpServer(combiner_app(self.store, self.uplink.attached.is_set))
        self.admin = await self.http.open(s.server.admin)
        self._closing.append(self.http.close)
        self.listen = await self.network.start(s.server.listen)
        self._closing.append(self.network.stop)
        attach.advertise.extend(self.network.addresses)

        def work() -> tier_words.Work:
            branches = children.branches()
            clients = len(self.network) + sum(one.clients for one in branches if one.parent == s.server.name)
            return tier_words.Work(
                load=clients / (s.server.capacity or 1_000),
                held_bytes=holdings.bytes,
                fold_seconds=partials.seconds,
                below=map(words.branch, branches),
                complete=children.complete,
            )

        parent.start(relay, work)
        self._closing.append(self.uplink.close)

    async def drain(self) -> None:
        """No new task; answers under way are taken until their clients have none, or for LAST_ANSWERS."""
        await self.network.drain(LAST_ANSWERS)

    def banner(self) -> str:
        """The first line: what listens where, for whom."""
        s = self.settings
        return (
            f"fedk {version('fedk')} combiner {s.server.name}, ready   clients {self.listen}   "
            f"admin http://{self.admin}   data {s.server.data_dir}   parent {', '.join(s.server.parent)}"
        )


def generation(data_dir: Path) -> str:
    """Of this disk: drawn once, kept beside what it holds."""
    path = data_dir / "generation"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        drawn = secrets.token_hex(8)
        path.write_text(drawn)
        disk.sync(path)
        disk.sync(data_dir)
        return drawn


def server(settings: Settings, catalogue: Catalogue) -> Server | Combiner:
    """The server of this role."""
    return (Combiner if settings.server.role == "combiner" else Server)(settings, catalogue)


def _after(close: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def closing() -> None:
        close()

    return closing
