"""Aggregators: how updates become the next global model.

An aggregator is a formula. The kernel streams, bounds memory, keeps precision, adds up in combiners and checkpoints.
Every block that an author sees is float64, 1-D (or [k, n]) and read-only; state in, state out; no I/O, no threads, no
globals. Four shapes, from most to least structure:

    MeanAggregator         a step from the weighted mean: combiners add up, nothing waits
    CoordinateAggregator   each element of the next model from that element of all updates
    SelectionAggregator    weights from the updates' distances
    Aggregator             any number of passes over the updates

A whole aggregator, the server's momentum:

    class Momentum(MeanAggregator[Config]):
        def initial(self) -> Mapping[str, float]:
            return {"m": 0.0}

        def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
            m = 0.9 * state["m"] + (mean - x)
            return x + m, {"m": m}
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fedk.api.config import Config
from fedk.api.driver import C, Driver

__all__ = [
    "Aggregator",
    "AnyAggregator",
    "Array",
    "Block",
    "Combine",
    "Config",
    "CoordinateAggregator",
    "Geometry",
    "MeanAggregator",
    "Recipe",
    "Round",
    "SelectionAggregator",
    "State",
    "Update",
    "Updates",
    "Wrapper",
]

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
    folds: int = 0  # models that the session has begun to make, this one included: each has drawn its noise
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
    freezes: ClassVar[bool] = False
    """Whether tensors that are not stepped stay as they are in the base, instead of being averaged."""
    once: ClassVar[bool] = False
    """Whether a client may be in a model once only: not with `mode = "async"`."""
    shows: ClassVar[tuple[str, ...]] = ()
    """Scalars of the state that are shown with each round, as the metric `aggregator.NAME`."""

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

    def weight(self, u: Update, r: Round) -> float:
        """What the update counts for, ≥ 0; of a mean its share of the denominator."""
        return float(u.num_examples)

    def finish(self, r: Round) -> Mapping[str, float]:
        """The next scalar state, once a round."""
        return r.scalars

    def enough(self, scalars: Mapping[str, float]) -> str:
        """Why no model is wanted after the one that this scalar state belongs to: the session ends with that reason."""
        return ""


class MeanAggregator(AnyAggregator[C]):
    """mean = Σ weight·scale·t / Σ weight for each tensor set, then `step`. Associative: combiners fold it.

    `weight`, `scale` and `sums` are called once for each update, when it is accepted. An exception or a value that is
    not finite refuses that update; in `step` and `finish` it fails the session, with the plugin's name.
    Integers, booleans and the tensors named in `aggregator.plain` are averaged by `weight` and never stepped.
    """

    of: ClassVar[Literal["model", "delta"]] = "model"
    """What is averaged: models, or deltas to the base that each client trained on."""

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


class Wrapper(MeanAggregator[C]):
    """A mean-shaped aggregator around another one (`aggregator.wrap`): what it does not define is the inner one's."""

    inner: MeanAggregator[Any]

    def accepts(self, inner: MeanAggregator[Any]) -> str:
        """Why it cannot go around `inner`; empty where it can."""
        return ""

    def around(self, inner: MeanAggregator[Any]) -> Self:
        """Put it around `inner`; `accepts` was asked."""
        self.inner = inner
        own = {name for cls in type(self).__mro__[: type(self).__mro__.index(Wrapper)] for name in vars(cls)}
        declared = ("of", "sets", "metrics", "sends", "random", "inspect", "freezes", "once", "shows")
        vars(self).update({name: getattr(inner, name) for name in declared if name not in own})
        return self

    def minimum(self) -> int:
        return self.inner.minimum()

    def initial(self) -> Mapping[str, float]:
        return self.inner.initial()

    def initial_scalars(self) -> Mapping[str, float]:
        return self.inner.initial_scalars()

    def client_settings(self) -> Mapping[str, Any]:
        return self.inner.client_settings()

    def weight(self, u: Update, r: Round) -> float:
        return self.inner.weight(u, r)

    def scale(self, u: Update, r: Round) -> float:
        return self.inner.scale(u, r)

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        return self.inner.sums(u, r)

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return self.inner.step(x, mean, state, r)

    def finish(self, r: Round) -> Mapping[str, float]:
        return self.inner.finish(r)

    def enough(self, scalars: Mapping[str, float]) -> str:
        return self.inner.enough(scalars)


Combine = Callable[[Array, Array], Array]
"""Values of k updates [k, n], which it may overwrite, and their weights [k] → [n]. Elementwise along n."""


class CoordinateAggregator(AnyAggregator[C]):
    """Each element of the next model from the same element of all updates; integers and booleans (0 and 1) too."""

    @abstractmethod
    def combine(self, values: Array, weights: Array) -> Array:
        """The next model's block [n] of the models' values [k, n], in the order of their keys, and weights [k].

        It may overwrite `values`. Blocks may span tensors.
        """


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the updates lie to each other, in the order of their keys: their deltas over all float tensors, in float64."""

    distances: Array  # [k, k] squared; symmetric, 0 on the diagonal
    norms: Array  # [k] squared, of the deltas


class SelectionAggregator(AnyAggregator[C]):
    """The weighted mean of some of the models, chosen by how they lie to each other."""

    @abstractmethod
    def choose(self, geometry: Geometry, weights: Array) -> Array:
        """What each update counts for in the mean, [k] ≥ 0. One alone that is not 0: that update, byte for byte.

        Ties are for the smaller index, the smaller key.
        """


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring elements of tensors that are stepped."""

    base: Array  # [n]
    values: Array  # [k, n], of the models that k updates brought; may be overwritten
    state: State  # [n] each


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the next model is made, block by block, of the updates `among`. `Updates` gives the usual ones."""

    among: Sequence[int]  # their indices
    weights: Array  # [k], theirs
    step: Callable[[Block], tuple[Array, State]]  # → (x', state')
    plain: Combine  # for tensors that are not stepped
    sums: Mapping[str, float] = field(default_factory=dict)  # what `finish` gets as r.sums


class Updates(Sequence[Update], ABC):
    """The updates of a round, in the order of their keys. Each call that reads is one pass over what they brought."""

    weights: Array  # [k]

    @abstractmethod
    def geometry(self) -> Geometry:
        """Distances and norms. One pass; up to 2,000 updates."""

    @abstractmethod
    def blocks(self, among: Sequence[int] | None = None) -> Iterator[Block]:
        """Blocks of all tensors that are stepped, each valid until the next; for an author's own sums."""

    @abstractmethod
    def coordinates(self, combine: Combine, among: Sequence[int] | None = None) -> Recipe:
        """Each element by `combine`, as CoordinateAggregator does."""

    @abstractmethod
    def mean(self, weights: Array) -> Recipe:
        """The mean by weights [k], as SelectionAggregator's; updates of weight 0 are not read."""


class Aggregator(AnyAggregator[C]):
    """The rest: any number of passes over the updates, the last of which makes the model."""

    @abstractmethod
    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        """How the next model is made. State tensors are in the blocks."""
