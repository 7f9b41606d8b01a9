"""Answers from the rows: what was said of a result, said again."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.rounds.clients import Receipt, Reply, Verdict
from fedk.rounds.states import Task
from fedk.state import tables as t


def of_task(task: Task, session: str, result_id: str) -> Reply | None:
    """The word on a task that is in memory; None while its answer is awaited."""
    if task.state == "accepted":
        return Receipt(task.id, result_id)
    if task.end is None:
        return None
    model = f"{session}/{task.round}" if task.end.outcome == "committed" else ""
    return Verdict(task.id, result_id, task.end.outcome, model, task.end.reason, task.end.detail)


async def answer(db: AsyncConnection, client: str, task: str, result_id: str) -> Reply | None:
    """The word on any task of `client`; None while its answer is awaited. An unknown task is lost."""
    query = (
        select(t.tasks, t.results.c.round, t.sessions.c.name)
        .select_from(
            t.tasks.join(t.sessions, t.tasks.c.session == t.sessions.c.id).outerjoin(
                t.results, t.tasks.c.id == t.results.c.task
            )
        )
        .where(t.tasks.c.id == task, t.tasks.c.client == client)
    )
    row = (await db.execute(query)).one_or_none()
    if row is None:
        return Verdict(task, result_id, "lost", reason="lost", detail="this server knows no such task")
    if row.state == "accepted":
        return Receipt(task, result_id)
    if row.verdict is None:
        return None
    model = f"{row.name}/{row.round}" if row.verdict == "committed" else ""
    return Verdict(task, result_id, row.verdict, model, row.reason, row.detail)
