"""Folds: from the accepted results of a round to the bytes of its model. Every outcome is an event of the session."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fedk.aggregation.composition import AnyFolding, begin
from fedk.aggregation.contribution import Contribution, Sum
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import MeanAggregator, Update
from fedk.api.errors import BlobError, FedkError, FormulaError
from fedk.blobs.hold import Hold
from fedk.blobs.part import Stored
from fedk.blobs.store import Blobs
from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.book import new_id, trail_digest
from fedk.rounds.budget import Budget
from fedk.rounds.damage import damaged
from fedk.rounds.inbox import Committed, Entry
from fedk.rounds.live import Live, Summed, Taken
from fedk.rounds.making import Made, Making, copy
from fedk.rounds.opening import Opener
from fedk.rounds.recipe import recipe
from fedk.rounds.roster import Roster
from fedk.rounds.states import Task
from fedk.rounds.stopping import enough
from fedk.rounds.trail import Share
from fedk.rounds.views import key_of, round_view, update_view
from fedk.state.store import Store

SMALL_MODEL, SMALL = 2**20, 64 * 2**20
"""Bytes of a model, and of updates and sums, that are soon folded: a thousand updates of 40 kB in 60 ms."""

log = logging.getLogger("fedk.rounds")


@dataclass(frozen=True, slots=True)
class Folds:
    """Makes the models of all sessions."""

    store: Store
    opener: Opener
    blobs: Blobs
    roster: Roster
    memory: Budget

    def ahead(self, live: Live, task: Task, taken: Taken) -> None:
        """Fold an accepted update while others are arriving.

        Async: while a model is made, updates of the next round come in; they are folded when that round closes.
        """
        if task.round == live.state.head + 1:
            self._making(live, task.round).add(self._contribution(live, task, taken))

    def soon(self, live: Live, action: act.Fold) -> bool:
        """Whether a model is made sooner than a transaction: then both its updates and it need but one.

        Noise is paid for in a transaction before it is drawn (decision 8); only a mean's cost is known beforehand.
        """
        base, formula = live.bases.get(action.token.round - 1), live.aggregator
        if base is None or not isinstance(formula, MeanAggregator) or formula.random:
            return False
        tasks = [live.state.tasks[i] for i in action.tasks]
        sums = {live.partials[name].span for name in {task.partial for task in tasks} - {""}}
        spans = [live.taken[task.id].arrival.span for task in tasks if not task.partial]
        size = sum(span.size for span in (*spans, *sums) if span is not None)
        return base.stored.size <= SMALL_MODEL and size <= SMALL and not self.memory.short

    async def made(self, live: Live, action: act.Fold) -> Entry:
        """Make the model of a closed round: what has come of it."""
        session, no, hold = live.state.id, action.token.round, self.blobs.hold()
        try:
            made = await self._made(live, action, hold)
            why = await enough(self.store, live, no, made.scalars)
            note = await self._committed(live, action, made, hold)
        except FormulaError as error:
            hold.close()
            log.log(_gravity(live), "formula.error session=%s round=%d", live.name, no, exc_info=True)
            return Entry(session, ev.FoldFailed(action.token, f"{live.record.aggregator}: {error}"))
        except (FedkError, OSError) as error:
            hold.close()
            lost = await asyncio.to_thread(damaged, live.taken, action.tasks)
            if lost:
                return Entry(session, ev.FoldFailed(action.token, str(error), lost))
            log.log(_gravity(live), "fold.failed session=%s round=%d", live.name, no, exc_info=True)
            why = f"model {no} cannot be stored: {error}"
            return Entry(session, ev.Blocked(why, action.token, passing=True))
        except Exception as error:  # the session must hear of it: it would wait for its model for ever
            hold.close()
            log.log(
                _gravity(live), "fold.failed session=%s round=%d: a fault of this server", live.name, no, exc_info=True
            )
            why = f"a fault of this server: {type(error).__name__} {error}"
            return Entry(session, ev.FoldFailed(action.token, why))
        return Entry(session, ev.Folded(action.token, why), note)

    def _making(self, live: Live, no: int) -> Making:
        """The running aggregate of round `no`."""
        making = live.makings.get(no)
        if making is None:
            small = live.bases[no - 1].stored.size <= SMALL_MODEL
            making = live.makings[no] = Making(lambda: self._folding(live, no), self.memory, small=small)
        return making

    def _folding(self, live: Live, no: int) -> AnyFolding:
        assert live.aggregator is not None  # noqa: S101  # a session without one is paused
        view = round_view(live, no, self.roster)
        base, rules = live.bases[no - 1].model, live.state.rules
        plain, exact = rules.aggregator.plain, rules.deterministic
        return begin(live.aggregator, base, live.aggregator_state, view, plain=plain, deterministic=exact)

    def _contribution(self, live: Live, task: Task, taken: Taken) -> Contribution:
        arrival, span = taken.arrival, taken.arrival.span
        assert span is not None  # noqa: S101  # a train result has blobs
        assert taken.terms is not None  # noqa: S101  # and terms
        blobs = {name: span.part(place.offset, place.size) for name, place in arrival.blobs.items()}
        return Contribution(self._view(live, task, taken), taken.terms, blobs, live.bases[task.base].model)

    def _view(self, live: Live, task: Task, taken: Taken) -> Update:
        return update_view(live, task, self.roster.name(task.client), taken.arrival)

    async def _made(self, live: Live, action: act.Fold, hold: Hold) -> Made:
        taken = {i: live.taken[i] for i in action.tasks}
        if action.token.round == 0:
            return await self._first(live, taken[action.tasks[0]], hold)
        tasks = live.state.tasks
        wanted = {i: self._contribution(live, tasks[i], x) for i, x in taken.items() if not tasks[i].partial}
        sums = [self._sum(live, live.partials[name]) for name in sorted({tasks[i].partial for i in taken} - {""})]
        making = self._making(live, action.token.round)
        view = round_view(live, action.token.round, self.roster)
        made = await making.finish({c.update.key: c for c in wanted.values()}, sums, live.project, hold, view)
        keeps = live.state.rules.updates.keep != "verdict"
        kept = await asyncio.to_thread(_kept, live, taken.values(), hold) if keeps else ()
        numbers = {c.update.key: tasks[i].number for i, c in wanted.items()}
        folded = [(numbers[key], key) for key in made.order if kept and key in numbers]
        return replace(made, updates=kept, recipe=recipe(live.state.rules, view, live.parts, folded))

    def _sum(self, live: Live, summed: Summed) -> Sum:
        """A combiner's sum of tensors, with the numbers that this server's rows have of its updates."""
        terms = {
            key_of(live, task, self.roster.name(task.client)): live.taken[task.id].terms or Terms(1.0)
            for task in (live.state.tasks[i] for i in summed.tasks)
        }
        return summed.of(terms)

    async def _first(self, live: Live, taken: Taken, hold: Hold) -> Made:
        span = taken.arrival.span
        assert span is not None  # noqa: S101  # intake wants the model
        return Made(await asyncio.to_thread(copy, span, live.project, hold))

    async def _committed(self, live: Live, action: act.Fold, made: Made, hold: Hold) -> Committed:
        no, parent = action.token.round, live.bases.get(action.token.round - 1)
        shares = [self._share(live, live.taken, i) for i in action.tasks]
        digest = trail_digest(live, no, parent.digest if parent else b"", made.model.sha256, shares)
        state = self.opener.initial_state(live)
        if no > 0:
            state = await self.opener.state(live, made.state.sha256 if made.state else None, made.scalars)
        base = await self.opener.base(
            live, no, new_id(), made.model, digest, hold=hold, state=state, max_abs=made.max_abs
        )
        return Committed(made, base, state)

    def _share(self, live: Live, taken: Mapping[str, Taken], task: str) -> Share:
        one = taken[task]
        name = self.roster.name(live.state.tasks[task].client)
        return Share(name, one.arrival.sha256, one.terms.weight if one.terms else 1.0)


def _gravity(live: Live) -> int:
    """Of a failure: where its session has ended, its files were closed under it."""
    return logging.DEBUG if live.closed else logging.ERROR


def _kept(live: Live, taken: Iterable[Taken], hold: Hold) -> tuple[Stored, ...]:
    """The updates as blobs. Those that a combiner has summed up are not here to be kept. Blocking."""
    found = {}
    for arrival in (one.arrival for one in taken):
        if arrival.span is not None and arrival.sha256 not in found:
            stored = found[arrival.sha256] = copy(arrival.span, live.project, hold)
            if stored.sha256 != arrival.sha256:
                raise BlobError(f"the update of task {arrival.task} is damaged where it is kept")
    return tuple(found.values())
