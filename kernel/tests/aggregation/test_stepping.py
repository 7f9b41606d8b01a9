"""Steps of models of 16 bits, whose masters remember what the format cannot."""

from typing import Any

import numpy as np
import pytest
from kernel.tests.aggregation.test_folding import BFLOAT16, Arrays, Delta, Mean, weighted

from fedk.aggregation.state import AggregatorState
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update


class Slow(Mean):
    """A tenth of the way: 0.05 a round, a tenth of bfloat16's last place at 64."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + 0.1 * (mean - x), {}


def rounds(
    bench: Any, aggregator: MeanAggregator[Config], there: list[float], count: int
) -> tuple[Arrays, AggregatorState]:
    """Clients that each move by `there` from the model that they got."""
    model, state = {"w": np.full(4, 64.0, BFLOAT16)}, None
    for _ in range(count):
        folding = bench.folding(aggregator, model, state)
        for number, by in enumerate(there):
            update = {"w": (model["w"].astype(np.float32) + by).astype(BFLOAT16)}
            folding.fold(bench.contribution(aggregator, bench.opened[-1], Update(f"{number}", "c", 1), model=update))
        model, state = bench.finished(folding)
    assert state is not None
    return model, state


def test_steps_below_the_last_place_of_bfloat16_add_up(bench: Any) -> None:
    model, state = rounds(bench, Slow(), [0.5], 25)
    assert state.tensors is not None
    master = bench.arrays(state.tensors)["master/w"]
    assert master.dtype == np.float32
    assert master == pytest.approx(np.full(4, 64 + 25 * 0.05), rel=1e-5)
    assert model["w"].tolist() == master.astype(BFLOAT16).tolist()


def test_the_masters_remainder_is_no_step(bench: Any) -> None:
    """Clients that stay where they are pull nothing back: x is what they saw, not the master."""
    _, moved = rounds(bench, Slow(), [0.5], 3)
    assert moved.tensors is not None
    model = {"w": np.full(4, 64.0, BFLOAT16)}
    folding = bench.folding(Slow(), model, moved)
    folding.fold(bench.contribution(Slow(), bench.opened[-1], Update("k", "c", 1), model=model))
    _, after = bench.finished(folding)
    assert bench.arrays(after.tensors)["master/w"].tolist() == bench.arrays(moved.tensors)["master/w"].tolist()


def test_deltas_of_16_bit_models_add_up_too(bench: Any) -> None:
    """One of four clients moves by one unit in the last place."""
    model, state = rounds(bench, Delta(), [0.5, 0.0, 0.0, 0.0], 10)
    assert bench.arrays(state.tensors)["master/w"].tolist() == [64 + 10 * 0.125] * 4
    assert model["w"].tolist() == [65.0] * 4


def test_a_formula_that_gives_the_mean_gives_the_mean_of_16_bit_models(bench: Any) -> None:
    draw = np.random.default_rng(5)
    model, state = {"w": draw.standard_normal(50).astype(BFLOAT16)}, None
    for count in (3, 2, 1):
        updates = [
            {"w": (model["w"].astype(np.float32) + draw.standard_normal(50)).astype(BFLOAT16)} for _ in range(count)
        ]
        wanted = weighted([update["w"] for update in updates], [1] * count).astype(np.float32).astype(BFLOAT16)
        folding = bench.folding(Mean(), model, state)
        for number, update in enumerate(updates):
            folding.fold(bench.contribution(Mean(), bench.opened[-1], Update(f"{number}", "c", 1), model=update))
        model, state = bench.finished(folding)
        assert model["w"].tobytes() == wanted.tobytes()
