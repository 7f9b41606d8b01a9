"""Evidence: what the rows have of how one model was made, and why that is not enough to make it again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Round, Update
from fedk.api.errors import FedkError
from fedk.blobs.hold import Key
from fedk.blobs.reader import Span
from fedk.rounds.retention import UPDATE
from fedk.rounds.rules import Rules
from fedk.state import tables as t

_WRITTEN = {"rules", "population", "asked", "folds", "fedk", "plugins", "folded"}
"""Keys of a recipe that a replay reads."""


class NotReplayed(FedkError):
    """There is not all that making the model again wants; the text says what is missing."""


class Contradiction(FedkError):
    """The rows do not agree with each other."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one model of a session but its first."""

    model: Row[Any]
    models: Mapping[int, Row[Any]]  # by round: its parent, and those that its updates were trained on
    updates: Mapping[int, Row[Any]]  # by number of the task
    kept: frozenset[bytes]  # hashes of updates whose bytes are there
    live: frozenset[bytes]  # hashes of blobs that are there
    keep: str  # the session's `updates.keep`

    @property
    def recipe(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.model.recipe
        return found

    @property
    def rules(self) -> Rules:
        try:
            return Rules.written(self.recipe["rules"])
        except ValidationError as error:
            raise Contradiction(f"the rules in its recipe are none: {error.errors()[0]['msg']}") from error

    @property
    def parent(self) -> Row[Any]:
        return self.models[self.model.round - 1]

    @property
    def folded(self) -> Sequence[tuple[int, str]]:
        """Number of the task and key of each update, in the order in which they were added up."""
        return [(number, key) for number, key in self.recipe["folded"]]

    @property
    def blobs(self) -> list[Key]:
        """All bytes that a replay reads."""
        states = {row.state_sha256 for row in (self.model, self.parent)} - {None}
        models = {row.sha256 for row in (self.model, *self.models.values())}
        return [(self.model.project, sha256) for sha256 in sorted(states | models | self.kept)]

    def round_view(self) -> Round:
        """The round as it closed; scalars come with the state."""
        r = self.recipe
        return Round(number=self.model.round, population=r["population"], asked=r["asked"], folds=r["folds"])

    def update_view(self, number: int, key: str) -> Update:
        """As the formula saw it."""
        row = self.updates[number]
        return Update(
            key=key,
            client=row.client,
            num_examples=row.num_examples,
            metrics=row.metrics,
            staleness=row.staleness,
            norm=row.norm,
            max_abs=row.max_abs,
        )

    def terms(self, number: int) -> Terms:
        row = self.updates[number]
        return Terms(row.weight, row.scale, row.sums)

    def spans(self, number: int, whole: Span) -> dict[str, Span]:
        """The update's blobs within the bytes that are kept of it."""
        blobs = self.updates[number].blobs
        return {name: whole.part(at, size) for name, (at, size, _) in blobs.items()}

    def check(self) -> None:
        """NotReplayed, Contradiction."""
        if summed := Counter(row.partial.rpartition("#")[0] for row in self.updates.values() if row.partial):
            by = ", ".join(f"{count} by combiner {_name(holder)}" for holder, count in sorted(summed.items()))
            raise NotReplayed(f"{sum(summed.values())} of {len(self.updates)} updates were summed elsewhere, {by}")
        if not self.kept:
            raise NotReplayed(f'its updates are not kept: updates.keep = "{self.keep}"')
        if not self.recipe.keys() >= _WRITTEN:
            raise NotReplayed("the fedk that made it did not write down the order of its updates")
        for row in self.updates.values():
            _agrees(row)
        if sorted(number for number, _ in self.folded) != sorted(self.updates):
            raise Contradiction("its recipe and its trail name different updates")
        if not {row.update_sha256 for row in self.updates.values()} <= self.kept:
            raise NotReplayed(f'some of its updates are not kept any more: updates.keep = "{self.keep}"')
        self._check_bases()

    def _check_bases(self) -> None:
        wanted = {self.model.round - 1, *(row.base for row in self.updates.values())}
        for no in sorted(wanted):
            if no not in self.models:
                raise Contradiction(f"model {no}, which it was made from, is not in the trail")
            if self.models[no].sha256 not in self.live:
                raise NotReplayed(f"the bytes of model {no}, which it was made from, were collected")
        if self.model.sha256 not in self.live:
            raise NotReplayed("its own bytes were collected: there is nothing to compare with")
        if self.parent.state_sha256 is not None and self.parent.state_sha256 not in self.live:
            raise NotReplayed(f"the aggregator's state beside model {self.parent.round} was collected")


def _agrees(row: Row[Any]) -> None:
    """What is written of an update at its acceptance and in the trail."""
    if row.sha256 is None:
        raise Contradiction(f"there is no row of the result of {row.client_name}")
    pairs = (
        ("weight", row.trail_weight, row.weight),
        ("num_examples", row.trail_examples, row.num_examples),
        ("hash", row.update_sha256.hex(), row.sha256.hex()),
    )
    for what, trail, accepted in pairs:
        if trail != accepted:
            text = f"the {what} of {row.client_name}'s update is {trail} in the trail"
            raise Contradiction(f"{text}, {accepted} in the row of its result")


def _name(holder: str) -> str:
    """Of the combiner that held results under this id."""
    return holder.rpartition(".")[0]


async def read(db: AsyncConnection, model: str) -> Evidence:
    """What the rows have of the model with this id. NotReplayed where it was not made of updates."""
    row = (await db.execute(select(t.models).where(t.models.c.id == model))).one()
    if row.session is None:
        raise NotReplayed("a person put it: it was not made of updates")
    if row.round == 0:
        raise NotReplayed("it is the initial one: it was not made of updates")
    updates = await _updates(db, row)
    models = await _models(db, row, {row.round - 1, *(update.base for update in updates)})
    refs = t.blob_refs.c
    kept = (await db.scalars(select(refs.sha256).where(refs.ref_id == row.id, refs.ref_kind == UPDATE))).all()
    keep = await db.scalar(select(t.sessions.c.rules).where(t.sessions.c.id == row.session))
    return Evidence(
        model=row,
        models={one.round: one for one in models},
        updates={update.number: update for update in updates},
        kept=frozenset(kept),
        live=await _live(db, row.project, (row, *models)),
        keep=Rules.written(keep).updates.keep,
    )


async def _updates(db: AsyncConnection, model: Row[Any]) -> Sequence[Row[Any]]:
    c, r = t.contributions.c, t.results.c
    joined = t.contributions.join(t.tasks, c.task == t.tasks.c.id).outerjoin(t.results, c.task == r.task)
    columns: list[Any] = [c.client_name, c.update_sha256]
    columns += [c.weight.label("trail_weight"), c.num_examples.label("trail_examples")]
    columns += [t.tasks.c.number, t.tasks.c.client, t.tasks.c.base, r.sha256, r.blobs, r.num_examples, r.metrics]
    columns += [r.staleness, r.weight, r.scale, r.sums, r.norm, r.max_abs, r.partial]
    return (await db.execute(select(*columns).select_from(joined).where(c.model == model.id))).all()


async def _models(db: AsyncConnection, model: Row[Any], rounds: set[int]) -> Sequence[Row[Any]]:
    wanted = (t.models.c.session == model.session, t.models.c.round.in_(sorted(rounds)))
    return (await db.execute(select(t.models).where(*wanted))).all()


async def _live(db: AsyncConnection, project: str, models: Sequence[Row[Any]]) -> frozenset[bytes]:
    hashes = {sha256 for one in models for sha256 in (one.sha256, one.state_sha256) if sha256 is not None}
    b = t.blobs.c
    query = select(b.sha256).where(b.project == project, b.sha256.in_(sorted(hashes)), b.state == "live")
    return frozenset((await db.scalars(query)).all())
