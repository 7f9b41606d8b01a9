"""What a transaction of unknown outcome has said, if it was committed after all: said when its rows are read."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.blobs.spool import Spool
from fedk.rounds.answers import answer
from fedk.rounds.book import published
from fedk.rounds.clients import Clients, Verdict
from fedk.rounds.feed import Published
from fedk.rounds.live import Live
from fedk.rounds.states import ENDED, Session
from fedk.state import tables as t

_COUNTED = ("committed", "recorded")


async def events(db: AsyncConnection, seq: int) -> list[Published]:
    """Those after `seq`."""
    later = select(t.events).where(t.events.c.seq > seq).order_by(t.events.c.seq)
    return [published(row) for row in (await db.execute(later)).all()]


async def verdicts(db: AsyncConnection, old: Live, now: Session, *, clients: Clients, spool: Spool) -> None:
    """Tell them to clients that are connected: those wait for nothing else. Free what they no longer need."""
    for task in old.state.tasks.values():
        after = now.tasks.get(task.id)
        if task.state == "settled" or (after is not None and after.state != "settled"):
            continue
        said = await answer(db, task.client, task.id, task.result_id)
        if task.open and isinstance(said, Verdict) and said.outcome not in _COUNTED:  # which has a result, not work
            clients.cancel(task.client, task.id, said.reason or said.outcome)
        elif said is not None:
            clients.reply(task.client, said)
        taken = old.taken.get(task.id)
        if taken is not None and taken.arrival.span is not None:
            spool.forget(taken.arrival.span)
        spool.expire(task.id)
    if now.status in ENDED:
        spool.drop(now.id)
