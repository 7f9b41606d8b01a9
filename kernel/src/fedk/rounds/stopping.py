"""Whether a session has what it wants: `stop_when`."""

import operator
from collections.abc import Mapping

from fedk.aggregation.formula import formula
from fedk.rounds.live import Live
from fedk.rounds.rules import stop_condition

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def enough(live: Live, no: int, scalars: Mapping[str, float]) -> str:
    """Why no round after `no` is wanted, or "". Train metrics are of round `no`, validate metrics of model `no - 1`.

    `scalars` are the aggregator's state beside model `no`.
    """
    if no > 0 and live.aggregator is not None:
        with formula(live.aggregator, "enough"):
            if text := live.aggregator.enough(scalars):
                return text
    condition = stop_condition(live.state.rules.stop_when)
    if condition is None:
        return ""
    metric, comparison, number = condition
    for round_, means in ((no, live.trained.get(no)), (no - 1, live.measured.get(no - 1))):
        value = means.values().get(metric) if means is not None else None
        if value is not None and _COMPARE[comparison](value, number):
            return f"{metric} {value:.6g} {comparison} {number:.6g} in round {round_}"
    return ""
