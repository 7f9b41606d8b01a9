from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.aggregation.grid import Grid
from fedk.aggregation.sending import send
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State
from fedk_protocol.codec import DTYPES, Safetensors, layout_of

BASE: dict[str, NDArray[Any]] = {
    "z": np.zeros((2, 3), np.float32),
    "half": np.zeros(4, DTYPES["BF16"]),
    "steps": np.array([1]),
    "bn.running_var": np.ones(2),
    "a": np.zeros(100_000),
}


class Controlled(MeanAggregator[Config]):
    """c counts up from 0.25, so that every block of it is known."""

    sends = {"control": "c"}  # noqa: RUF012 — read only

    def initial(self) -> dict[str, float]:
        return {"m": 7.0, "c": 0.25}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {"m": state["m"], "c": state["c"] + mean}


def sent(state: Any) -> dict[str, NDArray[Any]]:
    blob = bytearray()
    send(Controlled(), "c", state, Grid(layout_of(BASE)), blob.extend)
    return Safetensors().decode(bytes(blob))


def test_before_the_first_round_it_is_the_fill_value() -> None:
    found = sent(None)
    assert {name: (a.dtype, a.shape) for name, a in found.items()} == {
        name: (BASE[name].dtype, BASE[name].shape) for name in ("z", "half", "a")
    }
    assert all((array == 0.25).all() for array in found.values())


@pytest.mark.parametrize("rounds", [1, 2])
def test_then_it_is_the_state_in_the_models_dtypes_and_order(bench: Any, rounds: int) -> None:
    update = {**BASE, "a": np.arange(100_000.0), "z": np.full((2, 3), 0.5, np.float32)}
    state = None
    for _ in range(rounds):
        _, state = bench.finished(bench.folded(Controlled(), BASE, [(update, 3)], state=state))
    assert state is not None
    found = sent(state.tensors)
    assert list(found) == ["z", "half", "a"]
    assert found["a"].tolist() == (0.25 + rounds * np.arange(100_000.0)).tolist()
    assert found["z"].tolist() == [[0.25 + rounds * 0.5] * 3] * 2
    assert found["half"].astype(np.float32).tolist() == [0.25] * 4
