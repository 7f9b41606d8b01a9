"""A formula once more, written plainly and in float64, to compare an aggregator with round after round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedk.api.aggregator import Array
from fedk.testing.aggregation import Answer


@dataclass(frozen=True, slots=True)
class Told:
    """A client's answer as a textbook has it: every tensor in one vector, in the order of the names."""

    w: Array  # the model that it trained
    delta: Array  # from the model that it trained on
    num_examples: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    staleness: int = 0
    sets: Mapping[str, Array] = field(default_factory=dict)


class Textbook(Protocol):
    """What it remembers from round to round is its own."""

    def __call__(self, x: Array, told: Sequence[Told], /) -> Array:
        """The model after a round that begins at `x`."""


def told(base: Mapping[str, ArrayLike], answer: Answer) -> Told:
    """An answer to `base`, or to its own."""
    w = flat(answer.tensors)
    return Told(
        w=w,
        delta=w - flat(base if answer.base is None else answer.base),
        num_examples=answer.num_examples,
        metrics=answer.metrics,
        staleness=answer.staleness,
        sets={name: flat(arrays) for name, arrays in answer.sets.items()},
    )


def flat(arrays: Mapping[str, ArrayLike]) -> Array:
    """One float64 vector."""
    values: list[NDArray[Any]] = [np.asarray(arrays[name], np.float64).ravel() for name in sorted(arrays)]
    return np.concatenate(values)
