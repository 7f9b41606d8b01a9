"""Aggregators: how updates become the next global model.

An aggregator is a formula. The kernel streams, bounds memory, keeps precision, adds up in combiners and checkpoints.
Every block that an author sees is float64 and 1-D (or [k, n]); state in, state out; no I/O, no threads, no globals.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedk.api.config import Config
from fedk.api.driver import C, Driver

__all__ = ["AnyAggregator", "Array", "Config", "MeanAggregator", "Round", "State", "Update"]

Array = NDArray[np.float64]
State = Mapping[str, Array]
"""State tensors by name; in `step`, the block's slice of each."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a formula may know of one client's answer; never its tensors."""

    key: str  # the task's key: canonical order, ties
    client: str  # stable opaque id
    num_examples: int  # 1 … limits.max_examples
    metrics: Mapping[str, float] = field(default_factory=dict)  # finite; declared ones within their bounds
    staleness: int = 0  # commits since the base that it trained on; 0 in sync
    norm: float = 0.0  # ‖delta‖₂ over the float tensors
    max_abs: float = 0.0  # largest |element| of the model (base + delta)


@dataclass(frozen=True, slots=True)
class Round:
    """What a formula may know of the round."""

    number: int  # commit number, first is 1
    population: int  # clients of the session
    asked: int  # clients asked; async: the buffer
    scalars: Mapping[str, float] = field(default_factory=dict)  # scalar state at the round's start
    count: int = 0  # folded updates; in step and finish only, as weight and sums
    weight: float = 0.0  # Σ weight
    sums: Mapping[str, float] = field(default_factory=dict)  # Σ sums(update), by name
    sets: Mapping[str, Array] = field(default_factory=dict)  # the block's mean of each extra tensor set; in step only


class AnyAggregator(Driver[C], ABC):
    """What every shape declares; checked before a result gets its receipt."""

    sets: ClassVar[tuple[str, ...]] = ()
    """Extra tensor sets that an update carries: shaped as the model, folded alike."""
    metrics: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Metrics that an update must carry, with their bounds."""
    sends: ClassVar[Mapping[str, str]] = {}
    """State tensors that go out with each task: name at the client → name in the state."""

    def minimum(self) -> int:
        """Fewest updates that the formula is defined for."""
        return 1

    def initial(self) -> Mapping[str, float]:
        """State tensors, shaped as the model's float tensors, by name with their fill value."""
        return {}

    def initial_scalars(self) -> Mapping[str, float]:
        """Scalar state before the first round."""
        return {}

    def client_settings(self) -> Mapping[str, Any]:
        """Settings that clients get with each task (FedProx's μ)."""
        return {}


class MeanAggregator(AnyAggregator[C]):
    """mean = Σ weight·scale·t / Σ weight for each tensor set, then `step`. Associative: combiners fold it."""

    of: ClassVar[Literal["model", "delta"]] = "model"
    """What is averaged: models, or deltas to the base that each client trained on."""

    def weight(self, u: Update, r: Round) -> float:
        """The update's share of the denominator, ≥ 0."""
        return float(u.num_examples)

    def scale(self, u: Update, r: Round) -> float:
        """Multiplies the update's tensors only, not the denominator; needs `of = "delta"`."""
        return 1.0

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        """Named scalars that are summed over the updates, for `step` and `finish`."""
        return {}

    @abstractmethod
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        """The next model's block and state. Elementwise: called on one block [n] of a float tensor at a time.

        `x` is the base's block, `mean` that of the models or deltas (`of`), extra sets are in `r.sets`.
        """

    def finish(self, r: Round) -> Mapping[str, float]:
        """The next scalar state, once a round."""
        return r.scalars
