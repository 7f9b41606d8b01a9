"""What a round takes from its clients: one for a round and base, shared by all its results."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedk.aggregation.grid import PLAIN, Grid
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, widened
from fedk.aggregation.scratch import SCRATCH
from fedk.api.aggregator import AnyAggregator, Config
from fedk.api.errors import Refused
from fedk_protocol.codec import Reason
from fedk_protocol.layout import shown

MAX_EXAMPLES = 2**31

_GROWTH = 1e6  # one finite 1e30 leaves FedAvg at 2e20 after 200 rounds, and makes float32 second moments infinite
_FINITE = math.nextafter(math.inf, 0)


@dataclass(frozen=True, slots=True)
class Expected:
    """Limits and shapes. Without a base (an initial model is asked for) any names, shapes and dtypes are taken."""

    base: Model | None
    base_max_abs: float = 0.0
    sets: tuple[str, ...] = ()
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    max_abs: float | None = None
    max_examples: int = MAX_EXAMPLES
    max_norm: float | None = None
    plain: tuple[str, ...] = PLAIN
    inspect: bool = True
    grid: Grid | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", None if self.base is None else Grid(self.base.layout, self.plain))

    @property
    def blobs(self) -> tuple[str, ...]:
        """Names of a result's blobs, in the order of their bytes."""
        return tuple(sorted(("model", *self.sets)))

    @property
    def largest(self) -> float:
        """The largest |element| that is taken: `max_abs`, or a million times the base's own."""
        if self.max_abs is not None:
            return self.max_abs
        return _FINITE if self.base is None else min(_FINITE, _GROWTH * max(1.0, self.base_max_abs))

    @property
    def largest_norm(self) -> float:
        """The largest norm of an update that is taken: `max_norm`, or any that is finite."""
        return _FINITE if self.max_norm is None else self.max_norm


def expect(  # one keyword for each limit of a session
    aggregator: AnyAggregator[Config],
    base: Model,
    *,
    max_abs: float | None = None,
    max_examples: int = MAX_EXAMPLES,
    max_norm: float | None = None,
    plain: tuple[str, ...] = PLAIN,
    base_max_abs: float | None = None,
) -> Expected:
    """What `aggregator` wants of updates to `base`, within a session's limits.

    `base_max_abs` is known where the model was made here (`Folding.max_abs`); otherwise its bytes are read once.
    """
    return Expected(
        base,
        largest_element(base) if base_max_abs is None else base_max_abs,
        tuple(aggregator.sets),
        dict(aggregator.metrics),
        max_abs,
        max_examples,
        max_norm,
        plain,
        aggregator.inspect,
    )


def largest_element(model: Model) -> float:
    """The largest |element| of the float tensors."""
    peak = 0.0
    for run in Grid(model.layout).runs:
        if run.kind.floats:
            for start in range(0, run.count, BLOCK):
                offset, count = run.offset + start * run.dtype.itemsize, min(BLOCK, run.count - start)
                block = widened(model.block(run.dtype, offset, count, SCRATCH.raw), SCRATCH.wide)
                peak = max(peak, float(block.max()), -float(block.min()))
    return peak


def check_numbers(expected: Expected, num_examples: int, metrics: Mapping[str, float]) -> None:
    """Refused when a formula could not use them."""
    if num_examples < 1:
        raise Refused(Reason.NO_EXAMPLES, f"num_examples is {num_examples}, an update needs at least 1")
    if num_examples > expected.max_examples:
        text = f"num_examples is {num_examples:,}, the most is {expected.max_examples:,} (limits.max_examples)"
        raise Refused(Reason.TOO_LARGE, text)
    for name in expected.metrics:
        if name not in metrics:
            raise Refused(Reason.BAD_METRIC, f"{name} is missing; the aggregator needs {', '.join(expected.metrics)}")
    for name, value in metrics.items():
        _check_metric(expected, name, value)


def _check_metric(expected: Expected, name: str, value: float) -> None:
    if not math.isfinite(value):
        raise Refused(Reason.BAD_METRIC, f"{shown(name)} is {value}, a metric is a finite number")
    low, high = expected.metrics.get(name, (-math.inf, math.inf))
    if not low <= value <= high:
        raise Refused(Reason.BAD_METRIC, f"{shown(name)} is {value:g}, the aggregator takes {low:g} to {high:g}")
