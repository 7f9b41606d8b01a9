"""Reports of combiners: checked before their columns become results, of which each has what stands in them once."""

import re
from collections.abc import Iterable

from fedk.api.errors import Refused
from fedk.combiner.batches import arrivals
from fedk.combiner.columns import LARGEST, numbers
from fedk.combiner.words import SENT, TOGETHER
from fedk.network.calls import violated
from fedk.network.hello import ID
from fedk.network.results import check_batch
from fedk.network.roll import Roll
from fedk.rounds.clients import Arrival
from fedk.rounds.rules import NAME
from fedk.rounds.states import task_id
from fedk_protocol.v1 import tier_pb2 as tier

DEPTH = 64
"""Combiners that a result has come by."""

CLIENTS = 2**20
"""Clients that one stream may name: who has left keeps its number, and a stream that breaks begins anew."""


def check(members: tier.Members, roll: Roll) -> None:
    """Before they are entered. Raises Ended."""
    _check_count("clients on one stream", len(roll) + len(members.here), CLIENTS, where="")
    for one in (*members.here, *members.gone):
        if not all(ID.fullmatch(word) for word in (one.client, one.instance or "-")):
            raise violated(f"a client named {one.client[:64]!r}: it and its instance have ids")


def reported(reports: tier.Reports, roll: Roll, holder: str) -> list[Arrival]:
    """The results that this combiner holds. Raises Ended, also for what else it says of results."""
    _check_count("lost results", len(reports.lost), SENT)
    if not all(map(ID.fullmatch, reports.lost)):
        raise violated("a lost result is named by its task")
    _check_count("results that were not taken", len(reports.declined), TOGETHER)
    _check_count("batches", len(reports.held), TOGETHER)
    _check_count("results", sum(len(batch.tasks) for batch in reports.held), TOGETHER)
    return [one for batch in reports.held for one in _arrivals(batch, roll, holder)]


def sent(work: tier.Work) -> list[str]:
    """The tasks that are on their clients' streams. Raises Ended, also for what else is said of the work."""
    _check_count("lines", len(work.said), TOGETHER)
    _check_count("sessions", len(work.sent), SENT)
    _check_count("tasks", sum(len(one.tasks) for one in work.sent), SENT)
    return [task for one in work.sent for task in tasks(one.session, one.tasks)]


def tasks(session: str, gaps: Iterable[int]) -> list[str]:
    """The ids of tasks that a message names. Raises Ended."""
    _check_session(session)
    try:
        return [task_id(session, number) for number in numbers(gaps)]
    except ValueError as error:
        raise violated(str(error)) from error


def _arrivals(batch: tier.Batch, roll: Roll, holder: str) -> list[Arrival]:
    _check_session(batch.session)
    if batch.project and not re.fullmatch(NAME, batch.project):
        raise violated(f"a report: project {batch.project[:64]!r} is none")
    _check_count("combiners", len(batch.via), DEPTH)
    if not all(ID.fullmatch(word) for word in (*batch.via, *batch.result_names)):
        raise violated("a report names combiners and results")
    try:
        check_batch(batch)
        return arrivals(batch, roll.name, via=(holder,))
    except Refused as refused:
        raise violated(f"a report: {refused.detail}") from refused
    except ValueError as error:
        raise violated(f"a report: {error}") from error


def _check_session(session: str) -> None:
    """Its tasks' ids can be ids, and names of files."""
    if not re.fullmatch(NAME, session) or not ID.fullmatch(task_id(session, LARGEST)):
        raise violated(f"session {session[:64]!r} is none")


def _check_count(what: str, many: int, most: int, *, where: str = " in one message") -> None:
    if many > most:
        raise violated(f"{many:,} {what}{where}, at most {most:,}")
