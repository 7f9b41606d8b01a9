"""Aggregators: how updates become the next global model.

An aggregator is a formula. The kernel streams, bounds memory, keeps precision, adds up in combiners and checkpoints.
Every block that an author sees is float64, 1-D (or [k, n]) and read-only; state in, state out; no I/O, no threads, no
globals. A whole aggregator, the server's momentum:

    class Momentum(MeanAggregator[Config]):
        def initial(self) -> Mapping[str, float]:
            return {"m": 0.0}

        def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
            m = 0.9 * state["m"] + (mean - x)
            return x + m, {"m": m}
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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


def _undeclared(n: int) -> Array:  # noqa: ARG001 — of the signature that it stands for
    raise RuntimeError("r.normal is given to `step` and `finish` of aggregators that declare `random = True`")


@dataclass(frozen=True, slots=True)
class Update:
    """What a formula may know of one client's answer; never its tensors."""

    key: str  # the task's key: canonical order, ties
    client: str  # stable opaque id
    num_examples: int  # 1 … limits.max_examples
    metrics: Mapping[str, float] = field(default_factory=dict)  # finite; declared ones within their bounds
    staleness: int = 0  # commits since the base that it trained on; 0 in sync
    norm: float = 0.0  # ‖delta‖₂ over the float tensors
    max_abs: float = 0.0  # largest |element| of the model's float tensors (base + delta)


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
    normal: Callable[[int], Array] = _undeclared  # n draws of N(0, 1), cryptographic; where `random` is declared


class AnyAggregator(Driver[C], ABC):
    """What every shape declares; checked before a result gets its receipt."""

    sets: ClassVar[tuple[str, ...]] = ()
    """Extra tensor sets that an update carries, folded as the model is: its float tensors in its dtypes, others at will."""
    metrics: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Metrics that an update must carry, with their bounds (both included)."""
    sends: ClassVar[Mapping[str, str]] = {}
    """State tensors that go out with each task: name at the client → name in the state."""
    random: ClassVar[bool] = False
    """Whether the formula draws noise (`r.normal`): such a model is recorded as drawn and never computed again."""
    arithmetic: ClassVar[str] = "mean"
    """How updates are added up: "mean", the weighted mean over float64 sums."""
    inspect: ClassVar[bool] = True
    """Whether intake may look at the values. False (masked updates): no finiteness, limits, `norm`, `max_abs`."""

    def minimum(self) -> int:
        """Fewest updates that the formula is defined for."""
        return 1

    def initial(self) -> Mapping[str, float]:
        """State tensors, shaped as the tensors that are stepped, by name with their fill value."""
        return {}

    def initial_scalars(self) -> Mapping[str, float]:
        """Scalar state before the first round."""
        return {}

    def client_settings(self) -> Mapping[str, Any]:
        """Settings that clients get with each task (FedProx's μ)."""
        return {}


class MeanAggregator(AnyAggregator[C]):
    """mean = Σ weight·scale·t / Σ weight for each tensor set, then `step`. Associative: combiners fold it.

    `weight`, `scale` and `sums` are called once for each update, when it is accepted. An exception or a value that is
    not finite refuses that update; in `step` and `finish` it fails the session, with the plugin's name.
    Integers, booleans and the tensors named in `aggregator.plain` are averaged by `weight` and never stepped.
    """

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
        """The next model's block and state, which has the names of `initial`. Elementwise, on one block [n] at a time.

        `x` is the base's block, `mean` that of the models or deltas (`of`), extra sets are in `r.sets`. Blocks may span
        tensors. Floats of 16 and 8 bits have a float32 master in the state: `x` is what clients saw, and what the step
        adds to it is added to the master, so that steps below their precision add up.
        """

    def finish(self, r: Round) -> Mapping[str, float]:
        """The next scalar state, once a round."""
        return r.scalars
