"""Whether an aggregator keeps its contract, as far as can be seen without an update."""

import math
import re
from collections.abc import Iterator

from fedk.aggregation.followed import Followed
from fedk.aggregation.formula import name_of
from fedk.aggregation.state import MASTER
from fedk.api.aggregator import Aggregator, AnyAggregator, Config, MeanAggregator, Wrapper
from fedk.api.errors import PluginError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_contract(aggregator: AnyAggregator[Config]) -> None:
    """PluginError with every breach; before a session begins."""
    breaches = list(_breaches(aggregator))
    if breaches:
        raise PluginError("\n  ".join([f"{name_of(aggregator)} breaks the aggregators' contract:", *breaches]))


def _breaches(aggregator: AnyAggregator[Config]) -> Iterator[str]:
    yield from _common(aggregator)
    if isinstance(aggregator, Followed):
        return  # its parts were checked when they were put together
    if isinstance(aggregator, MeanAggregator):
        yield from _mean(aggregator)
    else:
        yield from _together(aggregator)


def _common(aggregator: AnyAggregator[Config]) -> Iterator[str]:
    yield from _names(aggregator)
    yield from _values(aggregator)
    if aggregator.minimum() < 1:
        yield f"minimum() is {aggregator.minimum()}; an aggregate needs an update"
    if aggregator.arithmetic != "mean":
        yield f'arithmetic is "{aggregator.arithmetic}"; this version of fedk knows "mean"'


def _names(aggregator: AnyAggregator[Config]) -> Iterator[str]:
    initial = aggregator.initial()
    for name in (*aggregator.sets, *initial):
        if not _NAME.fullmatch(name) or name in ("model", MASTER):
            yield f'"{name}" cannot name a tensor set or state: letters, digits and _, but not "model" or "{MASTER}"'
    for name, state in aggregator.sends.items():
        if state not in initial:
            yield f"sends {name} from the state {state}, which initial() does not name"


def _values(aggregator: AnyAggregator[Config]) -> Iterator[str]:
    for name, fill in (*aggregator.initial().items(), *aggregator.initial_scalars().items()):
        if not math.isfinite(fill):
            yield f"{name} begins as {fill}; a finite number is wanted"
    for name in aggregator.shows:
        if name not in aggregator.initial_scalars():
            yield f"shows the scalar {name}, which initial_scalars() does not name"
    for name, (low, high) in aggregator.metrics.items():
        if not low <= high:
            yield f"metric {name} has the bounds {low} to {high}; the first is the lower one"


def _together(aggregator: AnyAggregator[Config]) -> Iterator[str]:
    """Shapes that need all updates at once."""
    if aggregator.sets:
        yield f"sets are {', '.join(aggregator.sets)}; only mean-shaped aggregators have extra tensor sets"
    if aggregator.initial() and not isinstance(aggregator, Aggregator):
        yield "initial() names state tensors, which only MeanAggregator and Aggregator make"


def _mean(aggregator: MeanAggregator[Config]) -> Iterator[str]:
    if aggregator.of not in ("model", "delta"):
        yield f'of is "{aggregator.of}"; "model" or "delta" is wanted'
    if aggregator.of == "model" and type(aggregator).scale not in (MeanAggregator.scale, Wrapper.scale):
        yield 'scale() is defined, which only makes sense of deltas: of = "delta"'
