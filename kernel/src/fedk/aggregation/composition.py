"""Composition: wrappers around an aggregator, and one whose step follows it."""

from collections.abc import Iterable
from typing import Any

from fedk.aggregation.combining import Combining
from fedk.aggregation.contract import check_contract
from fedk.aggregation.exact import Exact
from fedk.aggregation.folding import Folding
from fedk.aggregation.followed import Followed
from fedk.aggregation.formula import name_of
from fedk.aggregation.model import Model
from fedk.aggregation.state import AggregatorState
from fedk.aggregation.total import Total
from fedk.api.aggregator import AnyAggregator, Config, MeanAggregator, Round, Wrapper
from fedk.api.errors import PluginError

AnyFolding = Folding | Combining


def composed(
    aggregator: AnyAggregator[Any], wrap: Iterable[AnyAggregator[Any]] = (), then: AnyAggregator[Any] | None = None
) -> AnyAggregator[Any]:
    """The first of `wrap` is the outermost. PluginError says which two do not go together."""
    whole = aggregator
    if isinstance(whole, Wrapper) and not hasattr(whole, "inner"):
        raise PluginError(f"{name_of(whole)} goes around another aggregator: aggregator.wrap, not aggregator.use")
    for wrapper in reversed(list(wrap)):
        whole = _wrapped(wrapper, whole)
    if then is not None:
        whole = _followed(whole, then)
    check_contract(whole)
    return whole


def begin(
    aggregator: AnyAggregator[Config],
    base: Model,
    state: AggregatorState,
    round: Round,  # noqa: A002 — the field's word
    *,
    deterministic: bool = False,
    **how: Any,
) -> AnyFolding:
    """A round's folding of an aggregator of any shape.

    Deterministic: its model is a function of the set of updates, to the bit. Means want exact totals for that; the
    other shapes read updates in the order of their keys anyway.
    """
    first = aggregator.first if isinstance(aggregator, Followed) else aggregator
    if isinstance(first, MeanAggregator):
        assert isinstance(aggregator, MeanAggregator)  # noqa: S101 — so is what follows it
        return Folding(aggregator, base, state, round, total=Exact if deterministic else Total, **how)
    return Combining(aggregator, base, state, round, **how)


def summable(aggregator: AnyAggregator[Config] | None) -> bool:
    """Whether combiners may add up its updates: a mean's, not those of an aggregator that looks at each."""
    return isinstance(aggregator.first if isinstance(aggregator, Followed) else aggregator, MeanAggregator)


def _wrapped(wrapper: AnyAggregator[Any], inner: AnyAggregator[Any]) -> Wrapper[Any]:
    if not isinstance(wrapper, Wrapper):
        raise PluginError(f"{name_of(wrapper)} goes around nothing: aggregator.use names it, or aggregator.then")
    if not isinstance(inner, MeanAggregator):
        raise PluginError(f"{name_of(wrapper)} goes around mean-shaped aggregators, and {name_of(inner)} is none")
    if refused := wrapper.accepts(inner):
        raise PluginError(f"{name_of(wrapper)} does not go around {name_of(inner)}: {refused}")
    return wrapper.around(inner)


def _followed(first: AnyAggregator[Any], then: AnyAggregator[Any]) -> Followed:
    if not isinstance(then, MeanAggregator) or isinstance(then, Wrapper):
        raise PluginError(f"{name_of(then)} cannot follow another aggregator: only the step of a mean-shaped one can")
    kind = type(then)
    if then.sets or then.metrics or kind.scale is not MeanAggregator.scale or kind.sums is not MeanAggregator.sums:
        raise PluginError(
            f"{name_of(then)} cannot follow another aggregator: it needs more of each update than the mean"
        )
    return Followed(first, then)
