"""A whole federation in virtual time, from a seed: a server that dies and comes back, clients, a person, faults."""

import asyncio
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from tests.simulation.clock import Loop, Stuck, World, simulated
from tests.simulation.invariants import Broken, check, each_step, of_rows
from tests.simulation.player import CODEC, Archive, Manners, Player
from tests.simulation.server import Server, StrictGates, copied

from fedk.api.errors import FedkError, StateError
from fedk.blobs.spool import Spool
from fedk.catalogue import Catalogue
from fedk.rounds.replay import Replayed
from fedk.rounds.rules import Rules
from fedk.rounds.states import ENDED
from fedk.state import tables as t

JUMP = 3_600.0
"""Seconds by which the clock on the wall may be set between two lives of the server."""

PATIENCE = 3_000.0
"""Virtual seconds within which every session ends once nothing goes wrong any more."""


@cache
def catalogue() -> Catalogue:
    return Catalogue.scan()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed plays."""

    rules: dict[str, Any]
    manners: dict[str, Manners]
    sessions: int = 1
    faults: bool = True  # of disk and database
    crashes: int = 0  # of the server
    losses: int = 0  # of clients, and of connections
    meddles: int = 0  # pauses, resumes
    init: bool = False
    wide: bool = False  # weights and updates are float64 and badly scaled: their order is seen in a float64 sum
    full: float = 0.0  # virtual seconds in which no model can be stored
    unwritten: float = 0.0  # the same for rows
    strict: float = 0.0  # the second before which a gate admits nobody; then everybody


@dataclass(slots=True)
class Outcome:
    """How it went."""

    statuses: dict[str, str] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)  # of each session's trail
    whys: dict[str, str] = field(default_factory=dict)
    measured: dict[str, set[int]] = field(default_factory=dict)  # models with metrics of their own
    counts: Counter[str] = field(default_factory=Counter)
    steps: list[float] = field(default_factory=list)  # when each was
    seconds: float = 0.0  # virtual


class _Faults(logging.Handler):
    """What the server itself calls a fault, or Python an error that nobody saw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("sqlalchemy.pool"):  # a dead server's connections, collected at some time
            return
        error = record.exc_info[1] if record.exc_info else None
        if "fault" in record.getMessage() or (error is not None and not isinstance(error, FedkError)):
            self.found.append(f"{record.getMessage()} {error!r}")


class Federation:
    """One schedule."""

    def __init__(self, seed: int, plan: Plan, folder: Path) -> None:
        self.plan, self.world, self.archive = plan, World(seed), Archive()
        self.outcome = Outcome()
        self._folder, self._lives = folder, 0
        self._server: Server | None = None
        self._loop: Loop | None = None
        self._why = ""  # this life is to end: "stop", "broken", "done"
        self._faults = _Faults()
        self._sessions: dict[str, str] = {}  # ids by name
        self._asked: set[asyncio.Task[None]] = set()
        self._gates = StrictGates(self.world, plan.strict)
        self.players = [
            Player(self.world, name, manners, self.archive, lambda: self._server)
            for name, manners in plan.manners.items()
        ]

    # ---- the schedule ----

    def play(self) -> Outcome:
        world, plan = self.world, self.plan
        for player in self.players:
            world.later(world.luck.uniform(0, 3), player.begin)
        for n in range(plan.sessions):
            world.later(1.0 + n, lambda n=n: self._create(f"s{n}"))  # type: ignore[misc]  # bound now
        for _ in range(plan.losses):
            world.later(world.luck.uniform(1, 120), self._lose)
        for _ in range(plan.meddles):
            world.later(world.luck.uniform(2, 100), self._meddle)
        left = plan.crashes
        data_dir = self._folder / "0"
        data_dir.mkdir()  # a server that ends at once has made none
        with simulated(world), each_step(), self._listening():
            while self._why != "done":
                world.calm = not (plan.faults and self._lives == 0) and left == 0 and world.now > 120
                crash = world.luck.choice([200, 800, 3_000]) if left else None
                left -= crash is not None
                data_dir = self._live(data_dir, world.luck.randrange(1, crash) if crash else None)
            self._check(data_dir)
        self.outcome.counts["tries"] = world.tries
        self.outcome.seconds = world.now
        return self.outcome

    @contextmanager
    def _listening(self) -> Iterator[None]:
        root = logging.getLogger()
        root.addHandler(self._faults)
        try:
            yield
        finally:
            root.removeHandler(self._faults)
            if self._server is not None:
                self._server.listening = False

    def _live(self, data_dir: Path, crash_after: int | None) -> Path:
        """One life of the server; answers where the next one finds its files."""
        self._why, self._lives = "", self._lives + 1
        world = self.world
        world.calm = world.calm or (not self.plan.faults and crash_after is None)
        loop = self._loop = Loop(world, crash_after=crash_after)
        loop.set_exception_handler(self._unseen)
        asyncio.set_event_loop(loop)
        server = self._server = Server(world, data_dir, catalogue(), self._gates, self.plan)
        try:
            starting = loop.create_task(server.start())
            starting.add_done_callback(self._started)
            world.later(5.0, lambda: self._look(loop))
            loop.run_forever()
            self.outcome.steps += loop.steps
            return self._end(server, loop, data_dir)
        except BaseException:
            self._bury(server, loop)
            raise
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _started(self, starting: "asyncio.Task[None]") -> None:
        if not starting.cancelled() and (error := starting.exception()) is not None:
            check(isinstance(error, StateError), f"the server does not start: {error!r}")
            self._why = "broken"
            if self._loop is not None:
                self._loop.stop()

    def _end(self, server: Server, loop: Loop, data_dir: Path) -> Path:
        self.outcome.counts[self._why or "crash"] += 1
        if (error := server.broken) is not None and not isinstance(error, StateError):
            raise error
        server.listening = False
        if self._why in ("stop", "done"):
            loop.crash_after = None
            server.listening = True
            if self._why == "done":
                self._replay(loop.run_until_complete(server.replayed()))
            loop.run_until_complete(server.close())
            self._seen()
            return data_dir
        target = self._folder / str(self._lives)
        power = self.world.luck.random() < 0.5
        copied(data_dir, target, getattr(server, "spool", None), power=power)
        self._seen()
        for player in self.players:
            if player.wire is not None:
                player.wire.cut()
        self._bury(server, loop)
        shutil.rmtree(data_dir)
        self.world.wall += self.world.luck.choice([0.0, 0.0, JUMP, -JUMP])
        self.world.pass_until(self.world.now + self.world.luck.choice([0.1, 1.0, 20.0]))
        return target

    def _bury(self, server: Server, loop: Loop) -> None:
        """What is left of a life is cleared away outside of time."""
        world = self.world
        now, calm, crash = world.now, world.calm, loop.crash_after
        world.dying, world.calm, loop.crash_after = True, True, None
        loop.run_until_complete(server.bury())
        world.now, world.calm, world.dying, loop.crash_after = now, calm, False, crash
        self._faults.found.clear()

    def _unseen(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.world.dying and not isinstance(error, FedkError | asyncio.CancelledError):
            self._faults.found.append(f"{context['message']} {error!r}")

    def _seen(self) -> None:
        check(not self._faults.found, "; ".join(self._faults.found))

    # ---- now and then ----

    def _look(self, loop: Loop) -> None:
        """Every few seconds: is it over, is it stuck?"""
        if loop is not self._loop or self._server is None or loop.is_closed():
            return
        if self._server.broken is not None or (self._server.listening and self._server.spool._broken):
            self._why = "broken"
            loop.stop()
        elif self._over():
            self._why = "done"
            loop.stop()
        else:
            if self.world.calm or self.world.luck.random() < 0.3:
                self._mend()
            self.world.later(5.0, lambda: self._look(loop))
        if self.world.now > 120 and loop.crash_after is None:
            self.world.calm = True
        elif self.world.now > 120 and loop.crash_after is not None:
            loop.crash_after = min(loop.crash_after, len(loop.steps) + 50)  # too little happens for it to be reached
        check(self.world.now < PATIENCE, f"no end: {self._standing()}")

    def _over(self) -> bool:
        server = self._server
        if server is None or not server.listening or len(self._sessions) < self.plan.sessions:
            return False
        if not self.world.calm:
            return False
        lives = [server.runner.lives.get(id_) for id_ in self._sessions.values()]
        over = all(live is None or live.state.status == "failed" for live in lives)
        return over and not any(player.outbox for player in self.players) and not self._asked

    def _standing(self) -> str:
        server = self._server
        lives = server.runner.lives.values() if server is not None and server.listening else ()
        waits = [server.desk.waiting_for(live.state.id) for live in lives] if server is not None else []
        outboxes = {p.name: list(p.outbox) for p in self.players if p.outbox}
        return f"{[(x.state.status, x.state.head, x.state.round, x.state.why) for x in lives]} {waits} {outboxes}"

    # ---- people and mishaps ----

    def _ask(self, what: Callable[[], Coroutine[Any, Any, None]], again: Callable[[], None] | None = None) -> None:
        """A person asks; where no answer comes, asks again later."""
        server, loop = self._server, self._loop
        if server is None or not server.listening or loop is None or self.world.dying:
            if again is not None:
                self.world.later(3.0, again)
            return

        async def asking() -> None:
            try:
                await what()
            except (FedkError, asyncio.CancelledError):
                if again is not None:
                    self.world.later(3.0, again)

        task = loop.create_task(asking())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    def _create(self, name: str) -> None:
        self._ask(lambda: self._created(name), lambda: self._create(name))

    async def _created(self, name: str) -> None:
        server = self._server
        assert server is not None
        async with server.store.reading() as db:
            found = await db.scalar(select(t.sessions.c.id).where(t.sessions.c.name == name))
        if found is None:
            model = None
            if not self.plan.init:
                stored = await server.blobs.put(
                    "default", CODEC.dumps({"w": np.zeros(64) if self.plan.wide else np.zeros(4, np.float32)})
                )
                model = await server.desk.put_model("default", stored)
            rules = Rules.model_validate(self.plan.rules)
            found = await server.desk.create("default", name=name, rules=rules, model=model)
        self._sessions[name] = found

    def _mend(self) -> None:
        """A person looks after what a person has stopped: what else has stopped goes on by itself."""
        for id_ in self._sessions.values():
            self._ask(lambda id_=id_: self._resumed(id_))  # type: ignore[misc]  # bound now

    async def _resumed(self, id_: str) -> None:
        server = self._server
        live = server.runner.lives.get(id_) if server is not None else None
        if server is not None and live is not None and live.state.paused_by == "person":
            await server.desk.resume(id_)

    def _meddle(self) -> None:
        for id_ in self._sessions.values():
            self._ask(lambda id_=id_: self._pressed(id_))  # type: ignore[misc]  # bound now

    async def _pressed(self, id_: str) -> None:
        assert self._server is not None
        await self._server.desk.pause(id_)
        self.outcome.counts["pauses"] += 1

    def _lose(self) -> None:
        luck = self.world.luck
        player = luck.choice(self.players)
        if luck.random() < 0.5 and player.wire is not None:
            player.wire.cut()
            self.outcome.counts["cuts"] += 1
        elif player.up and player._life < 3:  # more in a minute would be two that fight for a name
            player.crash()
            self.world.later(luck.choice([1.0, 10.0, 60.0]), player.begin)
            self.outcome.counts["client crashes"] += 1

    # ---- oracles ----

    def _check(self, data_dir: Path) -> None:
        with sqlite3.connect(data_dir / "fedk.sqlite") as db:
            db.row_factory = sqlite3.Row
            rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}  # noqa: S608  # our own names
        db.close()
        of_rows(rows["sessions"], rows["tasks"])
        self._check_models(rows)
        self._check_receipts(rows)
        spool = Spool(data_dir / "spool", 2**40)
        left = [path.name for path in spool.root.glob("*/*/*") if path.is_file()]
        check(not left, f"the spool keeps {left}")
        for session in rows["sessions"]:
            status = session["status"]
            self.outcome.statuses[session["name"]] = status
            check(status in ENDED, f"{session['name']} is {status}")
            models = sorted((m["round"], m["digest"].hex()) for m in rows["models"] if m["session"] == session["id"])
            check([no for no, _ in models] == list(range(session["head_round"] + 1)), f"{models}, {dict(session)}")
            self.outcome.digests[session["name"]] = [digest for _, digest in models]
            ends = [e["type"] for e in rows["events"] if e["session"] == session["id"]]
            check(ends.count("round.committed") == len(models) - (not self.plan.init), f"told {ends}")
            self.outcome.whys[session["name"]] = session["why"]
            self.outcome.counts["blocked"] += ends.count("session.paused")
            measured = {
                m["round"] for m in rows["metrics"] if m["session"] == session["id"] and m["kind"] == "validate"
            }
            self.outcome.measured[session["name"]] = measured
        for row in rows["rounds"]:
            took = row["closed_at"] - row["opened_at"]
            check(0 <= took <= self.world.now + JUMP * self._lives, f"round {row['no']} took {took} s")
        check([e["seq"] for e in rows["events"]] == list(range(1, len(rows["events"]) + 1)), "events have gaps")
        self.outcome.counts["retrained"] = sum(n > 1 for n in self.archive.trained.values())

    def _replay(self, found: dict[str, Replayed]) -> None:
        """Each model is what its recorded updates make, to the bit."""
        for name, one in found.items():
            check(not one.differs, f"{name}: {one.differs}")
            made = not name.endswith("/0") and self.plan.rules.get("updates") == {"keep": "all"}
            check(not (made and one.unable), f"{name} was not replayed: {one.unable}")
            self.outcome.counts["replayed"] += made

    def _check_models(self, rows: dict[str, list[Any]]) -> None:
        """Each model is the mean of what its rows say went into it, and no update is in two."""
        verdicts = {task["id"]: task["verdict"] for task in rows["tasks"]}
        seen = Counter(c["task"] for c in rows["contributions"])
        check(all(n == 1 for n in seen.values()), f"in two models: {seen.most_common(1)}")
        committed = {task for task, verdict in verdicts.items() if verdict == "committed"}
        trained = {c["task"] for c in rows["contributions"] if verdicts[c["task"]] != "recorded"}
        check(committed == trained, f"committed {sorted(committed ^ trained)} and in no model, or the reverse")
        for model in rows["models"]:
            parts = [c for c in rows["contributions"] if c["model"] == model["id"]]
            if model["round"]:
                weights = [c["weight"] for c in parts]
                arrays = [self.archive.updates[c["update_sha256"]] for c in parts]
                check(bool(arrays), f"model {model['round']} of nothing")
                self._near(model, np.average(arrays, axis=0, weights=weights))

    def _near(self, model: Any, wanted: np.ndarray) -> None:
        sha = model["sha256"].hex()
        path = next(p for p in self._folder.rglob(sha))
        found = CODEC.decode(path.read_bytes())["w"]
        check(bool(np.allclose(found, wanted, rtol=1e-6, atol=1e-7)), f"model {model['round']}: {found}, not {wanted}")

    def _check_receipts(self, rows: dict[str, list[Any]]) -> None:
        """Every receipt gets its verdict, and it is the one in the rows."""
        tasks = {task["id"]: task for task in rows["tasks"]}
        for task, _ in self.archive.receipts:
            check(tasks[task]["verdict"] is not None, f"a receipt without a verdict: {dict(tasks[task])}")
        for task, (outcome, _) in self.archive.verdicts.items():
            if task in tasks:
                name = tasks[task]["verdict"]
                check(OUTCOMES[outcome] == name, f"{task} was told {OUTCOMES[outcome]}, its row says {name}")


OUTCOMES = ["", "committed", "recorded", "rejected", "failed", "lost", "cancelled"]
TABLES = ["sessions", "rounds", "tasks", "models", "contributions", "events", "metrics"]


__all__ = ["Broken", "Federation", "Manners", "Outcome", "Plan", "Stuck"]
