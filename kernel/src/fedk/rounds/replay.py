"""Replay: a model is made again from what its rows and blobs recorded, by the folding that made it, and compared.

The order in which updates were added up is recorded, so that the bytes must be equal. Nothing is written: what is made
is compared piece by piece with the blob that is there.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from fedk.aggregation.accumulator import Write
from fedk.aggregation.comparison import Comparison
from fedk.aggregation.composition import AnyFolding, begin
from fedk.aggregation.contribution import Contribution
from fedk.aggregation.folding import TOGETHER
from fedk.aggregation.model import Model
from fedk.aggregation.state import AggregatorState, first_state
from fedk.api.errors import BlobError, ConfigError, FormulaError, PluginError
from fedk.blobs.hold import Hold
from fedk.blobs.store import Blobs
from fedk.rounds import evidence
from fedk.rounds.budget import Budget
from fedk.rounds.evidence import Contradiction, Evidence, NotReplayed
from fedk.rounds.loaded import Aggregators, Loaded, Part
from fedk.rounds.recipe import FEDK
from fedk.rounds.trail import config_hash
from fedk.state.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it: neither is said of a model that was made again with equal bytes."""

    differs: str = ""  # how the model that is made again differs, or what contradicts it
    unable: str = ""  # why it was not made again


class Replays:
    """One at a time, in the memory of the sessions' accumulators."""

    def __init__(self, store: Store, blobs: Blobs, aggregators: Aggregators, memory: Budget) -> None:
        self._store, self._blobs, self._aggregators, self._memory = store, blobs, aggregators, memory
        self._turn = asyncio.Lock()

    async def replay(self, model: str) -> Replayed:
        """Make the model with this id again. To be cancelled at any time: it ends within a few blocks."""
        async with self._turn:
            try:
                return Replayed(await self._compared(model))
            except NotReplayed as error:
                return Replayed(unable=str(error))
            except (BlobError, Contradiction, FormulaError) as error:
                return Replayed(differs=str(error))

    async def _compared(self, model: str) -> str:
        found = await self._read(model)
        found.check()
        loaded = self._loaded(found)
        with self._blobs.hold() as hold:
            await _to_its_end(lambda: _hold(hold, found))
            (await self._read(model)).check()  # what was collected before it was held is missing now
            with ExitStack() as opened:
                differs = await _Replay(self._blobs, found, loaded, opened).run(self._memory)
        made = found.recipe["fedk"]
        return f"{differs} (made by fedk {made}, this is {FEDK})" if differs and made != FEDK else differs

    async def _read(self, model: str) -> Evidence:
        async with self._store.reading() as db:
            return await evidence.read(db, model)

    def _loaded(self, found: Evidence) -> Loaded:
        """The aggregator that made it, in its version."""
        recorded = [Part(*one) for one in found.recipe["plugins"]]
        try:
            loaded = self._aggregators(found.rules)
        except (PluginError, ConfigError) as error:
            named = ", ".join(f"{part.name} {part.version}" for part in recorded)
            raise NotReplayed(f"{named} is not installed as it was: {error}. {_installed(recorded)}") from error
        others = [(was, now) for was, now in zip(recorded, loaded.parts, strict=True) if was != now]
        if others:
            said = ", ".join(f"{was.name} {was.version} is not installed ({now.version} is)" for was, now in others)
            raise NotReplayed(f"{said}. {_installed(was for was, _ in others)}")
        if loaded.aggregator.random:
            raise NotReplayed(f"{loaded.name} draws noise: the model is recorded as drawn")
        if config_hash(loaded.name, loaded.version, loaded.config) != found.model.config_hash:
            raise Contradiction(f"the settings of {loaded.name} in its recipe are not those that its digest covers")
        return loaded


def _hold(hold: Hold, found: Evidence) -> None:
    for key in found.blobs:
        hold.take(*key)


def _installed(parts: Iterable[Part]) -> str:
    wanted = " ".join(f"{part.distribution}=={part.version}" for part in parts)
    return f"In an environment of its own: pip install {wanted}"


def _more(count: int) -> str:
    return f"; so do {count} more tensors" if count > 1 else "; so does 1 more tensor" if count else ""


class _Replay:
    """One. What it opens is closed by `opened`."""

    def __init__(self, blobs: Blobs, found: Evidence, loaded: Loaded, opened: ExitStack) -> None:
        self._blobs, self._found, self._loaded, self._opened = blobs, found, loaded, opened
        self._left = threading.Event()  # nobody waits for it any more

    async def run(self, memory: Budget) -> str:
        """How it differs; "" where it does not."""
        found = self._found
        bases = {no: await self._open(row.sha256, f"model {no}") for no, row in found.models.items()}
        state = await self._state()
        folding = await self._in_thread(lambda: self._begun(bases[found.parent.round], state))
        self._opened.callback(folding.close)
        holder = _Holder()
        await memory.take(holder, folding.nbytes)
        try:
            await self._fold(folding, bases)
            return await self._finished(folding)
        finally:
            memory.give(holder)

    async def _open(self, sha256: bytes, what: str) -> Model:
        with _about(what):
            span = await self._blobs.span(self._found.model.project, sha256)
            return await _to_its_end(lambda: self._opened.enter_context(Model.open(span)))

    async def _state(self) -> AggregatorState:
        """The aggregator's, as it was before the round."""
        parent = self._found.parent
        if parent.round == 0:
            return first_state(self._loaded.aggregator)
        tensors = (
            await self._open(parent.state_sha256, f"the state beside model {parent.round}")
            if parent.state_sha256
            else None
        )
        return AggregatorState(tensors, parent.state_scalars)

    def _begun(self, base: Model, state: AggregatorState) -> AnyFolding:
        rules = self._found.rules
        plain, exact = rules.aggregator.plain, rules.deterministic
        view = self._found.round_view()
        return begin(self._loaded.aggregator, base, state, view, plain=plain, deterministic=exact)

    async def _fold(self, folding: AnyFolding, bases: Mapping[int, Model]) -> None:
        """In the order of then; a few at a time, because copies of a storage that is elsewhere do not stay for long."""
        order = self._found.folded
        for at in range(0, len(order), TOGETHER):
            batch = [await self._contribution(number, key, bases) for number, key in order[at : at + TOGETHER]]
            await self._in_thread(lambda batch=batch: folding.fold(*batch))  # type: ignore[misc]  # bound now

    async def _contribution(self, number: int, key: str, bases: Mapping[int, Model]) -> Contribution:
        found, row = self._found, self._found.updates[number]
        with _about(f"the update of {row.client_name}"):
            whole = await self._blobs.span(found.model.project, row.update_sha256)
        blobs = found.spans(number, whole)
        return Contribution(found.update_view(number, key), found.terms(number), blobs, bases[row.base])

    async def _finished(self, folding: AnyFolding) -> str:
        recorded = self._found.model
        if folding.has_state != (recorded.state_sha256 is not None):
            return "it has an aggregator's state beside it where the replay has none, or the reverse"
        model = Comparison(await self._open(recorded.sha256, "its bytes"))
        state = None
        if recorded.state_sha256 is not None:
            state = Comparison(await self._open(recorded.state_sha256, "the state beside it"))
        outs = self._while_wanted(model.write), self._while_wanted(state.write) if state else None
        scalars = await self._in_thread(lambda: folding.finish(*outs, self._found.round_view()))
        found = [*model.differences, *(state.differences if state else ())]
        if found:
            return f"made again, {found[0]}{_more(len(found) - 1)}"
        changed = [name for name, value in scalars.items() if recorded.state_scalars.get(name) != value]
        if changed or scalars.keys() != recorded.state_scalars.keys():
            name = min(changed, default="a scalar")
            return f"made again, {name} of the aggregator's state is {scalars.get(name)}, not {recorded.state_scalars.get(name)}"
        return ""

    def _while_wanted(self, write: Callable[[bytes | memoryview], None]) -> Write:
        def checked(data: bytes | memoryview) -> None:
            if self._left.is_set():
                raise InterruptedError("nobody waits for this replay any more")
            write(data)

        return checked

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Who leaves waits for the end of the block that is at work."""
        return await _to_its_end(work, self._left.set)


async def _to_its_end(work: Callable[[], T], leave: Callable[[], None] = lambda: None) -> T:
    """In a thread. Who is cancelled says `leave` and waits all the same: what the work uses is closed afterwards."""
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        leave()
        await asyncio.wait({doing})
        doing.exception()  # whatever it is, nobody asks for it any more
        raise


class _Holder:
    """Of the memory of one replay."""

    def give_way(self) -> None:
        """Its model is being made: it does not."""


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Name what is damaged."""
    try:
        yield
    except BlobError as error:
        raise BlobError(f"{what}: {error}") from error
