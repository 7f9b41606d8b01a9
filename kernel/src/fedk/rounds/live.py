"""A session in memory: the machine's state, and what performing its actions needs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedk.aggregation.accumulator import Sums
from fedk.aggregation.contribution import Sum
from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Place
from fedk.aggregation.model import Model
from fedk.aggregation.record import record
from fedk.aggregation.state import AggregatorState
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import AnyAggregator, Round
from fedk.api.config import Config
from fedk.api.errors import FedkError
from fedk.blobs.hold import Hold
from fedk.blobs.part import Stored
from fedk.blobs.reader import Span
from fedk.rounds.clients import Arrival, Input, Measured, Work
from fedk.rounds.clock import Clock
from fedk.rounds.coding import Coding
from fedk.rounds.ledger import Record, Row
from fedk.rounds.loaded import Loaded, Part
from fedk.rounds.making import Making
from fedk.rounds.states import Session, Token

SHOWN = "aggregator"
"""Kind of the metrics that are the aggregator's own, not any client's."""


@dataclass(frozen=True, slots=True)
class Base:
    """A committed model that tasks train on, open for reading."""

    round: int
    id: str  # of the model
    stored: Stored
    digest: bytes
    model: Model
    expected: Expected
    inputs: Mapping[str, Input]  # the model, and what the aggregator sends along
    hold: Hold  # on what was written for it

    def close(self) -> None:
        self.hold.close()
        self.model.reader.close()


@record(frozen=True, slots=True)
class Taken:
    """An accepted result: what arrived, and its terms in the fold."""

    arrival: Arrival
    terms: Terms | None  # None for an initial model
    staleness: int


@dataclass(frozen=True, slots=True)
class Summed:
    """A combiner's sum, whose bytes stand in the spool."""

    name: str  # HOLDER#NUMBER
    round: int
    tasks: frozenset[str]
    span: Span
    blobs: Mapping[str, Place]  # by name, within the span
    raw: bool  # its one update stands as it came
    total: str  # kind of the sums

    def of(self, terms: Mapping[str, Terms]) -> Sum:
        """For a fold, with what is known here of its updates, by key."""
        blobs = {name: self.span.part(place.offset, place.size) for name, place in self.blobs.items()}
        return Sum(Sums(terms, self.raw, self.total), blobs)


@dataclass(slots=True)
class Means:
    """Running means of one model's metrics, weighted by num_examples."""

    sums: dict[str, tuple[float, int]] = field(default_factory=dict)  # Σ n·value, Σ n
    clients: int = 0
    examples: int = 0

    def add(self, kind: str, measured: Measured) -> None:
        self.clients += 1
        self.examples += measured.num_examples
        for name, value in measured.metrics.items():
            total, n = self.sums.get(f"{kind}.{name}", (0.0, 0))
            self.sums[f"{kind}.{name}"] = total + measured.num_examples * value, n + measured.num_examples

    def values(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / n for name, (total, n) in sorted(self.sums.items()) if n}


@dataclass(frozen=True, slots=True)
class Seen:
    """A round as formulas see it while this is the session's state."""

    state: Session
    before: AggregatorState
    no: int
    view: Round


@dataclass(slots=True)
class Live:
    """One session that has not ended for good."""

    state: Session
    record: Record
    clock: Clock
    aggregator: AnyAggregator[Config] | None = None  # None: its plugin is missing, the session is paused
    missing: FedkError | None = None  # why it could not be made of its rows: the plugin, its settings, a model
    config: Mapping[str, Any] = field(default_factory=dict)
    coding: Coding | None = None  # what updates travel in, where clients have it
    parts: tuple[Part, ...] = ()  # the plugins that its models are made with
    aggregator_state: AggregatorState = field(default_factory=AggregatorState)
    bases: dict[int, Base] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)  # by task, until its verdict
    copies: dict[str, set[str]] = field(default_factory=dict)  # by task: combiners whose results of it do not count
    partials: dict[str, Summed] = field(default_factory=dict)  # by name, until their round is committed
    makings: dict[int, Making] = field(default_factory=dict)  # by round
    works: dict[tuple[int, str, tuple[str, ...], bool], Work] = field(default_factory=dict)
    trained: dict[int, Means] = field(default_factory=dict)  # by round: means of train metrics
    measured: dict[int, Means] = field(default_factory=dict)  # by model: means of validate metrics
    curve: tuple[str, dict[int, float]] | None = None  # the metric of `stop_when`, and its mean by round
    settings_read: set[str] = field(default_factory=set)
    opened_at: float = 0.0  # of the open round, seconds since the epoch
    began: float = 0.0  # the same moment on the monotonic clock
    traffic: tuple[int, int] = (0, 0)  # (sent, received) when the open round was opened
    refused: int = 0  # results refused in the open round
    formula_errors: int = 0  # in a row
    seen: Seen | None = None  # what formulas were last shown
    arming: Token | None = None  # the opening of a round whose first task is on its way: then its deadline runs
    awaited: int = 0  # answers after which something may be decided, as the rows say
    arrived: int = 0  # results since then
    summing: set[str] = field(default_factory=set)  # combiners whose sums have come and are not in the rows
    population: tuple[int, int] = (-1, 0)  # version of the roster, and how many of it the session may ask
    row: Row = field(default_factory=dict)  # of the session as last written
    round_row: Row = field(default_factory=dict)  # of the open round as last written
    closed: bool = False

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def project(self) -> str:
        return self.record.project

    def arms(self, task: str) -> bool:
        """Whether the open round's deadline runs from this task's sending on: true once for each opening."""
        r, found = self.state.round, self.state.tasks.get(task)
        if r is None or r.armed or r.token == self.arming or found is None or found.kind == "validate":
            return False
        self.arming = r.token
        return True

    def equip(self, loaded: Loaded) -> None:
        """Models are made with this from now on; what was folded ahead with something else is folded again, and tasks
        say what they say by the rules as they are.
        """
        self.aggregator, self.config, self.coding = loaded.aggregator, loaded.config, loaded.coding
        self.parts, self.record.aggregator_version = loaded.parts, loaded.version
        self.population = (-1, 0)
        self.works.clear()
        while self.makings:
            self.makings.popitem()[1].close()

    @property
    def seconds(self) -> float:
        """How long the open round has been open: no clock on a wall can change it."""
        return time.monotonic() - self.began

    def keeps(self, arrival: Arrival) -> bool:
        """Whether its bytes are the accepted ones of its task: the same result may come twice, into one file."""
        known = self.taken.get(arrival.task)
        return known is not None and known.arrival.span == arrival.span

    def close(self) -> None:
        """Give back files and memory; rows and spool stay."""
        self.closed = True
        self.clock.stop()
        for making in self.makings.values():
            making.close()
        for base in self.bases.values():
            base.close()
        self.aggregator_state.close()
        self.makings.clear()
        self.bases.clear()
