"""Blobs in a folder, and rounds in short."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import Expected
from fedk.aggregation.folding import Folding
from fedk.aggregation.intake import Facts, Intake
from fedk.aggregation.model import Model
from fedk.aggregation.state import AggregatorState, first_state
from fedk.aggregation.terms import terms
from fedk.api.aggregator import Config, MeanAggregator, Round, Update
from fedk.blobs.reader import Span
from fedk_protocol.codec import Safetensors

Arrays = Mapping[str, NDArray[Any]]


class Bench:
    """Writes blobs amid other bytes, opens them, folds them as a round does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.opened: list[Model] = []

    def span(self, arrays: Arrays | bytes) -> Span:
        data = arrays if isinstance(arrays, bytes) else Safetensors().dumps(arrays)
        self.count += 1
        path = self.folder / str(self.count)
        path.write_bytes(b"elsewhere" + data + b"more")
        return Span(str(path), 9, len(data))

    def model(self, arrays: Arrays | bytes) -> Model:
        self.opened.append(Model.open(self.span(arrays)))
        return self.opened[-1]

    def contribution(
        self, aggregator: MeanAggregator[Config], base: Model, update: Update, **blobs: Arrays | bytes
    ) -> Contribution:
        spans = {name: self.span(arrays) for name, arrays in blobs.items()}
        return Contribution(update, terms(aggregator, update, Round(1, 9, 9)), spans, base)

    def folding(
        self, aggregator: MeanAggregator[Config], base: Arrays, state: AggregatorState | None = None, **how: Any
    ) -> Folding:
        return Folding(aggregator, self.model(base), state or first_state(aggregator), Round(1, 9, 9), **how)

    def folded(
        self, aggregator: MeanAggregator[Config], base: Arrays, updates: Sequence[tuple[Arrays, int]], **how: Any
    ) -> Folding:
        """Updates with their numbers of examples."""
        folding = self.folding(aggregator, base, **how)
        for number, (arrays, examples) in enumerate(updates):
            update = Update(f"k{number}", f"c{number}", examples)
            folding.fold(self.contribution(aggregator, self.opened[-1], update, model=arrays))
        return folding

    def finished(self, folding: Folding) -> tuple[dict[str, NDArray[Any]], AggregatorState]:
        """Next model and state."""
        model, state = bytearray(), bytearray()
        scalars = folding.finish(model.extend, state.extend)
        tensors = self.model(bytes(state)) if folding.has_state else None
        return Safetensors().decode(bytes(model)), AggregatorState(tensors, scalars)

    def arrays(self, model: Model) -> dict[str, NDArray[Any]]:
        return Safetensors().decode(model.reader.read(0, model.reader.size))

    def fed(self, expected: Expected, chunk: int = 1 << 20, **blobs: bytes) -> Facts:
        """Through intake, in chunks."""
        intake = Intake(expected, {name: len(data) for name, data in blobs.items()})
        data = b"".join(blobs[name] for name in sorted(blobs))
        for at in range(0, len(data), chunk):
            intake.feed(data[at : at + chunk])
        return intake.finish()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for model in bench.opened:
        model.close()


@pytest.fixture(scope="module")
def draw() -> np.random.Generator:
    return np.random.default_rng(0)
