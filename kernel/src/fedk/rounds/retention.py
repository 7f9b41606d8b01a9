"""Retention: which bytes of a session stay, by `models.keep` and `updates.keep`. Rows stay always."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.rounds.live import Live
from fedk.rounds.rules import Rules
from fedk.rounds.states import ENDED, FINAL, Session
from fedk.state import tables as t

MODEL, STATE, SENT, UPDATE = "model", "state", "sent", "update"
"""Why a model refers to a blob: its bytes, the aggregator's state beside it, what went out with it, what it is made of."""

Rounds = ColumnElement[bool]
"""A condition on `models.round`."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Of one session, as its rows stand."""

    rules: Rules
    head: int
    over: bool  # it has ended for good: nothing is made of its aggregator's state any more
    bases: frozenset[int]  # models that open tasks brought, or accepted ones were trained on
    since: int | None  # the first model whose updates are kept

    @property
    def replayed(self) -> int | None:
        """The first model that a replay needs: async updates may have been trained on one that was older."""
        stale = self.rules.async_.max_staleness if self.rules.mode == "async" else 0
        return None if self.since is None else self.since - 1 - stale

    def unneeded(self) -> ColumnElement[bool]:
        """Of the session's rows in `models` joined with `blob_refs`: the references to drop."""
        no, kind = t.models.c.round, t.blob_refs.c.ref_kind
        replayed = false() if self.replayed is None else no >= self.replayed
        served = false() if self.over else or_(no == self.head, no.in_(self.bases))
        tagged = t.models.c.id.in_(select(t.model_tags.c.model))
        kept = keeps(self.rules.models.keep, self.head)
        return or_(
            and_(kind == SENT, not_(served)),
            and_(kind == STATE, not_(or_(served, replayed))),
            and_(kind == MODEL, not_(or_(served, replayed, no == self.head, tagged, kept))),
            and_(kind == UPDATE, not_(keeps(self.rules.updates.keep, self.head))),
        )


def keeps(rule: str, head: int) -> Rounds:
    """The rounds that "all", "last:N", "every:N" or "verdict" keeps."""
    name, _, number = rule.partition(":")
    no = t.models.c.round
    if name == "last":
        return no > head - int(number)
    if name == "every":
        return no % int(number) == 0
    return true() if name == "all" else false()


async def read(db: AsyncConnection, session: str) -> Retention | None:
    """As the rows say; None where there is no model yet."""
    s = t.sessions.c
    row = (await db.execute(select(s.rules, s.head_round, s.status).where(s.id == session))).one_or_none()
    if row is None or row.head_round < 0:
        return None
    rules = Rules.written(row.rules)
    waiting = (t.tasks.c.session == session, t.tasks.c.state != "settled")
    bases = (await db.scalars(select(t.tasks.c.base).where(*waiting).distinct())).all()
    since = await _since(db, session, rules, row.head_round)
    return Retention(rules, row.head_round, row.status in FINAL, frozenset(bases), since)


async def _since(db: AsyncConnection, session: str, rules: Rules, head: int) -> int | None:
    updates = (t.models.c.session == session, t.blob_refs.c.ref_kind == UPDATE)
    query = select(func.min(t.models.c.round)).select_from(_JOINED)
    found: int | None = await db.scalar(query.where(*updates, keeps(rules.updates.keep, head)))
    return found


_JOINED = t.models.join(t.blob_refs, t.blob_refs.c.ref_id == t.models.c.id)


def references(session: str, retention: Retention, limit: int) -> Select[Any]:
    """Those of the session's models that may be dropped: the columns of `blob_refs`."""
    query = select(t.blob_refs).select_from(_JOINED)
    return query.where(t.models.c.session == session, retention.unneeded()).limit(limit)


def leaves(live: Live, new: Session) -> bool:
    """Whether bytes may be needless once the session is `new`: looking costs as much as a transaction."""
    old, rules = live.state, live.state.rules
    if new.status in ENDED and old.status not in ENDED:
        return True
    aside = live.aggregator_state.tensors is not None or (live.aggregator is not None and bool(live.aggregator.sends))
    return new.head > old.head and (aside or rules.models.keep != "all" or rules.updates.keep != "verdict")
