"""The runner: performs what the machine decides. One batch of events, one transaction; then the actions."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from fedk.api.errors import FedkError, StateError
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs
from fedk.catalogue.gates import Gates
from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds import missed
from fedk.rounds.answers import of_task
from fedk.rounds.batch import Batch
from fedk.rounds.budget import Budget
from fedk.rounds.clients import Clients, Reply
from fedk.rounds.collection import Collection
from fedk.rounds.combiners import Combiners
from fedk.rounds.counts import wanted
from fedk.rounds.feed import Feed, Published
from fedk.rounds.folds import Folds
from fedk.rounds.inbox import Committed, Entry, Inbox, Item, Linked, Note, Seen, kept, refuse
from fedk.rounds.journal import record
from fedk.rounds.ledger import read_session, read_sessions
from fedk.rounds.live import Live, Summed, Taken
from fedk.rounds.loaded import Aggregators, Loaded
from fedk.rounds.opening import Opener
from fedk.rounds.performer import Performer
from fedk.rounds.presence import Presence
from fedk.rounds.recovery import Recovery
from fedk.rounds.repairs import Repairs
from fedk.rounds.retention import leaves
from fedk.rounds.roster import Roster
from fedk.rounds.states import ENDED, FINAL, Session, Task, session_of
from fedk.rounds.step import Step
from fedk.rounds.trouble import Trouble
from fedk.settings.settings import GIB
from fedk.state import tables as t
from fedk.state.errors import OURS, LostLease
from fedk.state.store import Store

PROJECT = "default"

log = logging.getLogger("fedk.rounds")


class Runner:
    """Sessions and rounds of this server. The only one who writes their rows."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        spool: Spool,
        aggregators: Aggregators,
        gates: Gates | None = None,
        accumulators: int = 2 * GIB,
    ) -> None:
        self.store, self.blobs, self.spool, self.gates = store, blobs, spool, gates or Gates()
        self.opener = Opener(blobs, spool, aggregators)
        self.roster, self.combiners, self.feed, self.inbox = Roster(), Combiners(), Feed(), Inbox()
        self.folds = Folds(store, self.opener, blobs, self.roster, Budget(accumulators))
        self.presence, self.repairs = Presence(self.post), Repairs(self._again)
        self.recovery = Recovery(self.opener, self.roster, self.presence, self.post)
        self.collection = Collection(store, blobs)
        self.lives: dict[str, Live] = {}
        self._performer: Performer | None = None
        self._seq = 0
        self._loop: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()  # models in the making, and what waits for gates
        self._closing_files: list[Callable[[], None]] = []  # of models that are the head, or no base any more
        self._turn = asyncio.Lock()  # one at a time changes what is in memory
        self._closing = asyncio.Event()
        self.trouble = Trouble()
        self.written: Callable[[], None] = lambda: None
        """Called after each transaction."""
        self.broken: asyncio.Future[None] | None = None

    # ---- life ----

    async def start(self, clients: Clients) -> None:
        """Read the rows, derive what is pending, and go on."""
        self._performer = Performer(
            clients=clients, roster=self.roster, spool=self.spool, gates=self.gates, folds=self.folds, post=self.post,
            put=self.inbox.put, spawn=self._spawn,
        )  # fmt: skip
        self.broken = asyncio.get_running_loop().create_future()
        await self._first_project()
        async with self.store.reading() as db:
            await self.roster.read(db)
            await self.combiners.read(db)
            self._seq = (await db.scalar(select(func.max(t.events.c.seq)))) or 0
            found = await read_sessions(db)
            for state, record in found:
                self.lives[state.id] = await self.recovery.read(db, state, record, traffic=self.network.traffic)
        self._recover_spool()
        for live in self.lives.values():
            self.recovery.go_on(live)
        self.collection.look()
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """A fault ends the server, visibly: one that goes on without its loop would be a zombie."""
        error = None if loop.cancelled() else loop.exception()
        if error is not None:
            self._fail(error)

    async def _first_project(self) -> None:
        """A new database has one project: the one of who names none."""
        async with self.store.transaction() as tx:
            if not (await tx.scalar(select(func.count()).select_from(t.projects))):
                await tx.execute(insert(t.projects).values(id=PROJECT, name=PROJECT, limits={}))

    def _recover_spool(self) -> None:
        taken = [x.arrival.span for live in self.lives.values() for x in live.taken.values()]
        taken += [x.span for live in self.lives.values() for x in live.partials.values()]
        tasks = {i for live in self.lives.values() for i, task in live.state.tasks.items() if task.state != "settled"}
        self.spool.recover([span for span in taken if span is not None], open_tasks=tasks)

    async def close(self) -> None:
        """Write what has arrived, then let go of everything; open tasks stay open in the rows."""
        self.presence.close()
        self.repairs.close()
        self._closing.set()
        for live in self.lives.values():
            live.clock.stop()
        await asyncio.gather(*self._working, return_exceptions=True)
        self.inbox.close()
        if self._loop is not None:
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.gather(*self._working, return_exceptions=True)
        for item in await self.inbox.batch():  # a model that came too late is made again after the restart
            if isinstance(item, Entry) and isinstance(item.note, Committed):
                item.note.close()
        await self.collection.close()
        for live in self.lives.values():
            live.close()
        self.feed.close()

    def post(self, session: str, event: ev.Event) -> None:
        """Something has happened to a session."""
        self.inbox.put(Entry(session, event))

    async def settle(self, session: str, event: ev.Event, note: Note | None = None) -> None:
        """Post an event and wait until it is in the rows."""
        done: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self.inbox.put(Entry(session, event, note, done))
        await done

    def announce(self, live: Live) -> None:
        """Tell a session who is connected."""
        for member in self.roster.of(live.project):
            if member.state == "connected":
                self.presence.here(live, member)

    async def reopen(self, session: str) -> None:
        """Read a session anew: what it needed may be back. PluginError, ConfigError or BlobError where it is not."""
        async with self._turn:
            await self._reread([session])
        live = self.lives.get(session)
        if live is not None and live.missing is not None:
            raise live.missing

    async def knows(self, session: str) -> bool:
        """Whether the rows have it: resolves a commit whose outcome is unknown."""
        async with self.store.reading() as db:
            return (await db.scalar(select(t.sessions.c.id).where(t.sessions.c.id == session))) is not None

    def live_of(self, task: str) -> Live | None:
        """The session in memory that a task belongs to."""
        return self.lives.get(session_of(task))

    def task_of(self, client: str, task: str) -> Task | None:
        """A task in memory, if it is this client's."""
        live = self.live_of(task)
        found = live.state.tasks.get(task) if live is not None else None
        return found if found is not None and found.client == client else None

    # ---- the batch loop ----

    async def _run(self) -> None:
        items: list[Item] = []
        try:
            while items := await self.inbox.batch():
                async with self._turn:
                    before = self._seq
                    try:
                        await self._batch(items)
                    except (FedkError, SQLAlchemyError, OSError) as error:
                        await self._discard(items, error, before)
        finally:
            self.inbox.end(items)

    async def _batch(self, items: list[Item]) -> None:
        batch = Batch(
            items, self.lives, roster=self.roster, spool=self.spool, gates=self.gates, folds=self.folds,
            traffic=self.network.traffic,
        )  # fmt: skip
        try:
            await batch.decide()
            events = batch.published(self._seq)
            if not batch.book.writes.empty():
                await self.store.write(batch.book.writes.execute, after=self.spool.sync() if batch.stays else None)
                self.trouble.over()
        except BaseException:
            for model in batch.unfinished:
                self._spawn(_in_vain(model))
            raise
        self._seq += len(events)
        await self._after(items, batch.steps, events)

    async def _after(self, batch: Sequence[Item], steps: Sequence[Step], events: Sequence[Published]) -> None:
        """The transaction is committed: adopt the states, answer who waits, perform the actions."""
        superseded = [step.new.id for step in steps if leaves(step.live, step.new)]
        over = {s.new.id for s in steps if s.new.status in ENDED and s.live.state.status not in ENDED}
        for step in steps:
            entries = [x for x in batch if isinstance(x, Entry) and x.session == step.new.id]
            self._adopt(step.live, step.new, entries, step.actions)
        for entry in [x for x in batch if isinstance(x, Entry) and x.session not in self.lives]:
            self._let_go(entry.note)  # its session has ended meanwhile
        waited = self._reply(batch)
        for step in steps:
            self._performing.perform(step, waited)
        self.feed.publish(events)
        await asyncio.sleep(0)  # words and tasks leave first: nobody waits for what follows
        for event in events:
            record(event)
        for step in steps:
            if step.new.id in over:
                self._over(step.live, step.new)
            elif step.new.status not in ENDED:
                self._tidy(step.live, step.new)
        if self._closing_files:
            # in a thread: the last name of a file may be gone, and closing it then frees its blocks
            self._spawn(asyncio.to_thread(_each, self._closing_files))
            self._closing_files = []
        if superseded:
            self.collection.look(*superseded)
        self.written()

    def _adopt(self, live: Live, new: Session, entries: Sequence[Entry], actions: Sequence[act.Action]) -> None:
        self.repairs.see(live.state, new, [entry.event for entry in entries])
        live.state = new
        live.awaited = wanted(new)
        came = sum(isinstance(entry.event, ev.Result) for entry in entries)
        live.arrived = max(0, live.arrived - came)  # some came to the one that this was read anew from
        for event, note in ((entry.event, entry.note) for entry in entries):
            if isinstance(note, Summed):
                live.summing.discard(note.name.rpartition("#")[0])
            if isinstance(note, Summed) and live.partials.get(note.name) is not note:
                self._let_go(note)  # it was not taken
            elif isinstance(note, Taken) and not live.keeps(note.arrival):
                self._let_go(note)  # here: who brought it may not wait any more
            elif isinstance(note, Committed) and any(note is one for one in kept(entries, actions)):
                live.aggregator_state.close()
                self._closing_files.append(note.base.hold.settle)
                live.bases[new.head], live.aggregator_state = note.base, note.state
            elif isinstance(note, Committed):
                self._let_go(note)
            elif isinstance(note, Loaded) and isinstance(event, ev.Changed) and event.rules is new.rules:
                live.equip(note)

    def _let_go(self, note: Note | None) -> None:
        match note:
            case Summed():
                self.forget(note.span)
            case Taken():
                self.forget(note.arrival.span)
            case Committed():
                note.close()

    def _reply(self, batch: Sequence[Item]) -> set[str]:
        """Answer those who wait for this batch; returns the tasks whose word is said."""
        said = set()
        for item in batch:
            if not isinstance(item, Entry):
                if item.done is not None and not item.done.done():
                    item.done.set_result(None)
            elif item.reply is not None and not item.reply.done():
                task = item.event.task if isinstance(item.event, ev.Result | ev.Refused) else ""
                live = self.lives.get(item.session)
                found = live.state.tasks.get(task) if live is not None else None
                result_id = item.event.result_id if isinstance(item.event, ev.Result) else ""
                item.reply.set_result(of_task(found, live.name, result_id) if live and found else None)
                said.add(task)
        return said

    async def _discard(self, batch: Sequence[Item], error: Exception, before: int) -> None:
        """A transaction failed: what is in memory may be wrong. Forget it, and read the rows again.

        `before` is the last event before it: where there is a later one, it was committed after all.
        """
        log.error("batch.failed error=%s", error, exc_info=not isinstance(error, FedkError))
        entries = [item for item in batch if isinstance(item, Entry)]
        for entry in entries:
            refuse(entry, error)
            if isinstance(entry.note, Committed):
                entry.note.close()
        await self.trouble.wait(error, self._closing)
        if isinstance(error, LostLease):
            self._fail(error)
        else:
            await self._reread({entry.session for entry in entries})
            for note in [entry.note for entry in entries]:
                if isinstance(note, Taken):
                    self._give_up(note)
        words = [item for item in batch if not isinstance(item, Entry)]
        if self._seq > before:
            self._reply(words)
        else:
            self._say_again(words, error)

    def _say_again(self, words: Sequence[Seen | Linked], error: Exception) -> None:
        """What nobody waits for comes before all that has come meanwhile; who waits asks again."""
        for word in words:
            refuse(word, error)
        if not (isinstance(error, (LostLease, *OURS)) or self._closing.is_set()):
            self.inbox.put_back([word for word in words if word.done is None])

    def _give_up(self, note: Taken) -> None:
        """Its client sends it again, if it is not in the rows; where those could not be read, nobody knows."""
        live, span = self.live_of(note.arrival.task), note.arrival.span
        if live is None or live.missing is not None or span is None:
            return
        if not live.keeps(note.arrival):
            self.spool.release(span)

    async def _reread(self, sessions: Iterable[str]) -> None:
        try:
            await self._reload(sessions)
        except (FedkError, SQLAlchemyError, OSError) as again:
            self._fail(StateError(f"the sessions cannot be read again: {again}"))

    def _fail(self, error: BaseException) -> None:
        if self.broken is not None and not self.broken.done():
            self.broken.set_exception(error)

    async def _reload(self, sessions: Iterable[str]) -> None:
        async with self.store.reading() as db:
            events = await missed.events(db, self._seq)
            self._seq = events[-1].seq if events else self._seq
            self.feed.publish(events)
            for session in sessions:
                old, found = self.lives.get(session), await read_session(db, session)
                if old is None:
                    continue
                if found is None or found[0].status in FINAL:
                    del self.lives[session]
                    self.presence.drop(session)
                else:  # until it is read, the old one hears who comes: what they bring waits in the inbox
                    live = self.lives[session] = await self.recovery.read(db, *found, traffic=self.network.traffic)
                    live.settings_read = old.settings_read  # of settings that were added meanwhile no row says anything
                    self.announce(live)
                    self.recovery.go_on(live)
                old.close()
                if found is not None:
                    await missed.verdicts(db, old, found[0], clients=self.network, spool=self.spool)

    # ---- what failed, and is tried again ----

    def _again(self, session: str) -> None:
        live = self.lives.get(session)
        if live is not None and live.missing is not None:
            self._spawn(self._read_again(session))
        else:
            self.post(session, ev.Unblocked())

    async def _read_again(self, session: str) -> None:
        async with self._turn:
            await self._reread([session])

    # ---- what follows ----

    @property
    def network(self) -> Clients:
        """Who reaches clients, once it has started."""
        return self._performing.clients

    @property
    def _performing(self) -> Performer:
        assert self._performer is not None  # noqa: S101  # start() sets it
        return self._performer

    def offer(self, live: Live, task: Task) -> None:
        """Send the task, if its client is connected; otherwise it is sent when the client is back."""
        self._performing.offer(live, task)

    def forget(self, span: Span | None) -> None:
        """Nobody needs these bytes of the spool."""
        if span is not None:
            self.spool.forget(span)

    def _over(self, live: Live, new: Session) -> None:
        """It has ended: a failed one is read again from its rows when a person resumes it."""
        live.close()
        self.presence.drop(new.id)
        live.works.clear()
        self.spool.drop(new.id)
        if new.status in FINAL:
            self.lives.pop(new.id, None)

    def _tidy(self, live: Live, new: Session) -> None:
        """Close what no open task needs any more."""
        needed = {new.head} | {task.base for task in new.tasks.values() if task.state != "settled"}
        for no in [no for no in live.bases if no not in needed]:
            self._closing_files.append(live.bases.pop(no).close)
            live.works = {key: work for key, work in live.works.items() if key[0] != no}
        for no in [no for no in live.makings if no <= new.head]:
            live.makings.pop(no).close()
        for name in [name for name, summed in live.partials.items() if summed.round <= new.head]:
            self.forget(live.partials.pop(name).span)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault of this server", exc_info=error)


def _each(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except OSError:
            log.exception("a file cannot be closed")


async def _in_vain(making: "asyncio.Task[Entry]") -> None:
    """A model of results that are not in the rows."""
    entry = await making
    if isinstance(entry.note, Committed):
        entry.note.close()
