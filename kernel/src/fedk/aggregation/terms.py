"""What a formula makes of an update, once, when it is accepted: the row keeps it, and a fold done again uses it."""

import math
from collections.abc import Mapping
from dataclasses import field

from fedk.aggregation.formula import formula, name_of, of
from fedk.aggregation.record import record
from fedk.api.aggregator import AnyAggregator, Config, MeanAggregator, Round, Update
from fedk.api.errors import FormulaError


@record(frozen=True, slots=True)
class Terms:
    """Numbers of one update."""

    weight: float
    scale: float = 1.0
    sums: Mapping[str, float] = field(default_factory=dict)


def terms(aggregator: AnyAggregator[Config], update: Update, round: Round) -> Terms:  # noqa: A002 — the field's word
    """FormulaError when the formula raises, or gives what is not finite or a negative weight."""
    scale, sums = 1.0, dict[str, float]()
    with formula(aggregator, "weight, scale or sums", update):
        weight = float(aggregator.weight(update, round))
        if isinstance(aggregator, MeanAggregator):
            scale = float(aggregator.scale(update, round))
            sums = {name: float(value) for name, value in aggregator.sums(update, round).items()}
    if weight < 0:
        raise _wrong(aggregator, update, f"weight is {weight:g}", "it must not be negative")
    if scale != 1.0 and getattr(aggregator, "of", "model") == "model":
        raise _wrong(aggregator, update, f"scale is {scale:g}", "it only makes sense of deltas")
    for name, value in (("weight", weight), ("scale", scale), *sums.items()):
        if not math.isfinite(value):
            raise _wrong(aggregator, update, f"{name} is {value}", "it must be finite")
    return Terms(weight, scale, sums)


def _wrong(aggregator: AnyAggregator[Config], update: Update, what: str, why: str) -> FormulaError:
    return FormulaError(f"{name_of(aggregator)}: {what}{of(update)}; {why}")
