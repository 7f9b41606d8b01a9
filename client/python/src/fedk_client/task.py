"""What user code is given and gives back."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from fedk_client.errors import TaskCancelled
from fedk_client.settings import Setting, Settings
from fedk_protocol.codec import Arrays

__all__ = ["Client", "Reports", "Task", "TaskCancelled", "Update", "Validation"]

D_co = TypeVar("D_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Client:
    """Who this process is. `options` never leave it; `attributes` are public at the server."""

    name: str
    part: int = 0
    parts: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts:
            raise ValueError(f"part {self.part} of {self.parts}: parts are counted from 0 to {self.parts - 1}")


class Reports(Protocol):
    """Where a task's live words go."""

    def progress(self, task: str, step: int, metrics: Mapping[str, float]) -> None:
        """Send a point of the live curve; raise TaskCancelled where the server has cancelled the task."""

    def log(self, task: str, text: str) -> None:
        """Send a line of text."""


class Unheard:
    """For a task that no server gave."""

    def progress(self, task: str, step: int, metrics: Mapping[str, float]) -> None:
        """Nobody is there."""

    def log(self, task: str, text: str) -> None:
        """Nobody is there."""


class Task(Generic[D_co]):
    """What the server asks of this client, and what the client has for it. Tests may make their own."""

    def __init__(
        self,
        data: D_co,
        *,
        client: Client | None = None,
        id: str = "",  # noqa: A002 — the protocol's word
        kind: str = "train",
        session: str = "",
        round: int = 1,  # noqa: A002 — the field's own word
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        sent: Mapping[str, Arrays] | None = None,
        state: Arrays | None = None,
        deadline: float = math.inf,
        reports: Reports | None = None,
    ) -> None:
        self._data = data
        self.client = client or Client("test")
        self.id, self.kind, self.session, self.round, self.seed = id, kind, session, round, seed
        self.settings = settings if isinstance(settings, Settings) else Settings(settings)
        self.sent: Mapping[str, Arrays] = sent or {}
        self.state: Arrays = state or {}
        self._deadline, self._reports = deadline, reports or Unheard()

    @property
    def data(self) -> D_co:
        """What the app's `data` made, once, before it joined."""
        return self._data

    @property
    def remaining(self) -> float:
        """Seconds until the round's deadline; infinite where there is none, negative after it."""
        return self._deadline - time.monotonic()

    def setting(self, name: str, default: Setting) -> Setting:
        """The session's value, or `default`; a value of another type than the default's is refused."""
        return self.settings.typed(name, default)

    def report(self, step: int, **metrics: float) -> None:
        """A point of the live curve, as `task.report(step, loss=0.3)`. Raises TaskCancelled."""
        self._reports.progress(self.id, step, metrics)

    def log(self, text: str) -> None:
        """A line for the server's log; `logging` and `print` stay here."""
        self._reports.log(self.id, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How good the model is on this client's data; metrics are named without their kind: "accuracy"."""

    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_examples", _count(self.num_examples))
        object.__setattr__(self, "metrics", _numbers(self.metrics))


@dataclass(frozen=True, slots=True)
class Update:
    """A model trained on this client's data: `Update(net, num_examples=len(x), metrics={"loss": 0.3})`.

    `sets` are further model-shaped arrays that the aggregator asks for; `state` comes back as `task.state` once this
    very update is part of a committed model.
    """

    model: object
    num_examples: int = field(kw_only=True)
    metrics: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    sets: Mapping[str, Arrays] = field(default_factory=dict, kw_only=True)
    state: Arrays = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_examples", _count(self.num_examples))
        object.__setattr__(self, "metrics", _numbers(self.metrics))


def _count(num_examples: int) -> int:
    # zero passes: the server refuses it, and says so where the operator sees it
    count = int(num_examples)
    if count != num_examples or count < 0:
        raise ValueError(f"num_examples is {num_examples}: it is a count of examples, 0 or more")
    return count


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {str(name): _number(name, value) for name, value in metrics.items()}


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f'metric "{name}" is a {type(value).__name__}: metrics are single numbers') from error
