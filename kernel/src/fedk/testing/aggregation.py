"""One aggregation without a server, through the code that a round uses: bytes, intake, terms, folding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedk.aggregation.accumulator import Accumulator
from fedk.aggregation.composition import AnyFolding, begin, composed
from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import Expected, check_numbers, expect
from fedk.aggregation.folding import Folding
from fedk.aggregation.intake import Intake
from fedk.aggregation.model import Model
from fedk.aggregation.noise import normal
from fedk.aggregation.numbers import BLOCK
from fedk.aggregation.state import AggregatorState, first_state
from fedk.aggregation.terms import terms
from fedk.api.aggregator import AnyAggregator, Array, Config, Round, Update
from fedk.blobs.reader import Span
from fedk.catalogue.catalogue import Catalogue
from fedk.testing.combiner import Combiner
from fedk_protocol.codec import Safetensors

Arrays = Mapping[str, ArrayLike]
Noise = Callable[[int], Array]
Chosen = str | type[AnyAggregator[Any]] | AnyAggregator[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one client answers. `base` is the model that it trained on, where that is not the round's."""

    tensors: Arrays
    num_examples: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    staleness: int = 0
    sets: Mapping[str, Arrays] = field(default_factory=dict)
    base: Arrays | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the next round needs: the number of commits so far, and the aggregator's state."""

    number: int
    scalars: Mapping[str, float]
    tensors: bytes


def aggregate(  # noqa: PLR0917 — what a plugin's author types, in the order of a sentence
    aggregator: Chosen,
    base: Arrays,
    updates: Sequence[Arrays | Answer],
    weights: Sequence[int] | None = None,
    config: Mapping[str, Any] | Config | None = None,
    state: State | None = None,
    *,
    population: int | None = None,
    noise: Noise = normal,
) -> tuple[dict[str, NDArray[Any]], State]:
    """One round: the next model, and the state for the call after it.

    `aggregator` is a name ("fedavg"), a class, or an object (`config` is its own then), of any shape. `weights` are
    the answers' `num_examples`; `population` are the session's clients, those that answer unless given; `noise` is
    what a formula that draws any gets. Lists take the base's dtype, arrays keep theirs. Raises what a round meets:
    Refused for an update that intake does not take, FormulaError for a formula that fails.
    """
    answers = [update if isinstance(update, Answer) else Answer(update) for update in updates]
    if weights is not None:
        answers = [_weighted(answer, weight) for answer, weight in zip(answers, weights, strict=True)]
    with Workshop(built(aggregator, config), base, state, noise=noise) as workshop:
        return workshop.round(answers, population=population)


def built(aggregator: Chosen, config: Mapping[str, Any] | Config | None = None) -> AnyAggregator[Any]:
    """The driver, with its settings; its contract is checked."""
    driver = aggregator
    if isinstance(driver, str):
        driver = Catalogue.scan().load("aggregator", driver).cls
    if isinstance(driver, type):
        settings = driver.config_type()(**config) if isinstance(config, Mapping) else config
        driver = driver(settings)
    elif config is not None:
        raise TypeError("an aggregator that is already made has its config: give its class, or no config")
    return composed(driver)


class Workshop:
    """A base and a folder of blobs: rounds of one aggregator, also in parts as combiners do them."""

    def __init__(
        self, aggregator: AnyAggregator[Any], base: Arrays, state: State | None = None, *, noise: Noise = normal
    ) -> None:
        self._folder = TemporaryDirectory(prefix="fedk-")
        self._blobs = 0
        self._models: list[Model] = []
        self._aggregator, self._noise = aggregator, noise
        self._base = {name: np.asarray(value) for name, value in base.items()}
        self._number = state.number if state else 0
        self._state = self._opened(state) if state else first_state(aggregator)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for model in self._models:
            model.close()
        self._folder.cleanup()

    def round(
        self,
        answers: Sequence[Answer],
        *,
        tree: Combiner | None = None,
        block: int = BLOCK,
        population: int | None = None,
        deterministic: bool = False,
    ) -> tuple[dict[str, NDArray[Any]], State]:
        """The next model and state. The answers are summed in their order, or as the combiners of `tree` do it."""
        base, count = self._model(self._base), len(answers)
        expected = expect(self._aggregator, base)
        view = Round(self._number + 1, population or count, count, self._state.scalars, folds=self._number + 1)
        contributions = [self._taken(expected, view, number, answer) for number, answer in enumerate(answers)]

        def started() -> AnyFolding:
            how = {"block": block, "noise": self._noise}
            return begin(self._aggregator, base, self._state, view, deterministic=deterministic, **how)

        return self._finished(_Summing(self, contributions, started).folded(tree or Combiner(tuple(range(count)))))

    def _finished(self, folding: AnyFolding) -> tuple[dict[str, NDArray[Any]], State]:
        model, state = bytearray(), bytearray()
        scalars = folding.finish(model.extend, state.extend)
        arrays = Safetensors().decode(bytes(model))
        return {name: array.copy() for name, array in arrays.items()}, State(self._number + 1, scalars, bytes(state))

    def _taken(self, expected: Expected, view: Round, number: int, answer: Answer) -> Contribution:
        if answer.base is not None:
            expected = expect(self._aggregator, self._model(self._arrays(answer.base)))
        sets = sorted({"model": answer.tensors, **answer.sets}.items())
        data = {name: Safetensors().dumps(self._arrays(arrays)) for name, arrays in sets}
        intake = Intake(expected, {name: len(blob) for name, blob in data.items()})
        for blob in data.values():
            intake.feed(blob)
        facts = intake.finish()
        check_numbers(expected, answer.num_examples, answer.metrics)
        update = Update(
            key=f"{number:06}",
            client=f"client-{number}",
            num_examples=answer.num_examples,
            metrics=answer.metrics,
            staleness=answer.staleness,
            norm=facts.norm,
            max_abs=facts.max_abs,
        )
        spans = {name: self._kept(blob) for name, blob in data.items()}
        assert expected.base is not None
        return Contribution(update, terms(self._aggregator, update, view), spans, expected.base)

    def _arrays(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        return {name: self._array(name, value) for name, value in arrays.items()}

    def _array(self, name: str, value: ArrayLike) -> NDArray[Any]:
        wanted = self._base.get(name)
        return np.asarray(value) if isinstance(value, np.ndarray) or wanted is None else np.asarray(value, wanted.dtype)

    def carried(self, accumulator: Accumulator) -> dict[str, Model]:
        """What an accumulator exports, as who receives it opens it."""
        found: dict[str, Model] = {}
        for part in accumulator.parts():
            blob = bytearray()
            accumulator.export(part, blob.extend)
            found[part] = self._open(bytes(blob))
        return found

    def _kept(self, data: bytes) -> Span:
        self._blobs += 1
        path = Path(self._folder.name, str(self._blobs))
        path.write_bytes(data)
        return Span(str(path), 0, len(data))

    def _model(self, arrays: Mapping[str, NDArray[Any]]) -> Model:
        return self._open(Safetensors().dumps(arrays))

    def _open(self, data: bytes) -> Model:
        self._models.append(Model.open(self._kept(data)))
        return self._models[-1]

    def _opened(self, state: State) -> AggregatorState:
        return AggregatorState(self._open(state.tensors) if state.tensors else None, state.scalars)


@dataclass(frozen=True, slots=True)
class _Summing:
    """Combiners at work."""

    workshop: Workshop
    contributions: Sequence[Contribution]
    begin: Callable[[], AnyFolding]

    def folded(self, combiner: Combiner) -> AnyFolding:
        folding = self.begin()
        for part in combiner.parts:
            if isinstance(part, Combiner):
                self._add(_sums(folding), _sums(self.folded(part)), exported=part.exported)
            else:
                folding.fold(self.contributions[part])
        return folding

    def _add(self, into: Accumulator, other: Accumulator, *, exported: bool) -> None:
        if exported:
            into.take(other.summary(), self.workshop.carried(other))
        else:
            into.merge(other)


def _sums(folding: AnyFolding) -> Accumulator:
    assert isinstance(folding, Folding), "only means are added up by combiners"
    return folding.accumulator


def _weighted(answer: Answer, num_examples: int) -> Answer:
    return Answer(answer.tensors, num_examples, answer.metrics, answer.staleness, answer.sets, answer.base)
