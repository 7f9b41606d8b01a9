"""Whether a session has what it wants: `stop_when`, and what its aggregator says."""

from collections.abc import Mapping

from sqlalchemy import func, select

from fedk.aggregation.formula import formula
from fedk.rounds.condition import condition
from fedk.rounds.live import Live
from fedk.state import tables as t
from fedk.state.store import Store


async def enough(store: Store, live: Live, no: int, scalars: Mapping[str, float]) -> str:
    """Why no round after `no` is wanted, or "". Train metrics are of round `no`, validate metrics of model `no - 1`.

    `scalars` are the aggregator's state beside model `no`.
    """
    if no > 0 and live.aggregator is not None:
        with formula(live.aggregator, "enough"):
            if text := live.aggregator.enough(scalars):
                return text
    wanted = condition(live.state.rules.stop_when)
    return wanted.met(await _curve(store, live, wanted.metric, no)) if wanted is not None else ""


async def _curve(store: Store, live: Live, metric: str, no: int) -> Mapping[int, float]:
    """The metric's mean by round, up to `no`: read from the rows once, then from what is in memory."""
    if live.curve is None or live.curve[0] != metric:
        live.curve = metric, await _read(store, live.state.id, metric, no)
    curve = live.curve[1]
    for round_, means in ((no, live.trained.get(no)), (no - 1, live.measured.get(no - 1))):
        value = means.values().get(metric) if means is not None else None
        if value is not None:
            curve[round_] = value
    return curve


async def _read(store: Store, session: str, metric: str, no: int) -> dict[int, float]:
    m = t.metrics.c
    mean = func.sum(m.value * m.num_examples) / func.sum(m.num_examples)
    wanted = (m.session == session, m.name == metric, m.round <= no, m.num_examples > 0)
    async with store.reading() as db:
        rows = (await db.execute(select(m.round, mean).where(*wanted).group_by(m.round))).all()
    return {int(round_): float(value) for round_, value in rows}
