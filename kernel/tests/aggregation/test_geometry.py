"""Distances between updates: exact to float64 rounding, from deltas, in blocks, with one BLAS thread."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from fedk.aggregation.blas import ONE_THREAD
from fedk.aggregation.geometry import MOST, geometry
from fedk.aggregation.grid import Grid
from fedk.aggregation.model import Model
from fedk.aggregation.places import Places
from fedk.aggregation.stack import Brought, Stack
from fedk.api.aggregator import Update
from fedk.api.errors import FormulaError

Arrays = dict[str, NDArray[Any]]


@contextmanager
def stack(bench: Any, base: Model, updates: Sequence[tuple[Arrays, Model]], **how: Any) -> Iterator[Stack]:
    """Updates, each with the model that it was trained on."""
    grid, brought = Grid(base.layout), []
    for number, (arrays, trained_on) in enumerate(updates):
        span = bench.span(arrays)
        with Model.open(span) as model:
            places = Places(grid, model.layout)
        brought.append(Brought(Update(f"k{number:05}", "c", 1), 1.0, span, places, trained_on))
    with closing(Stack(grid, base, brought, **how)) as made:
        yield made


def exact(deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[((a - b) ** 2).sum() for b in deltas] for a in deltas])


def flat(arrays: Arrays) -> NDArray[np.float64]:
    floats = [a for a in arrays.values() if a.dtype.kind == "f"]
    return np.concatenate([a.astype(np.float64).ravel() for a in floats])


@pytest.mark.parametrize("block", [1, 100, 1 << 16])
def test_distances_and_norms_are_those_of_the_deltas(bench: Any, block: int) -> None:
    draw = np.random.default_rng(0)
    base: Arrays = {
        "a": draw.standard_normal(300).astype(np.float32),
        "steps": np.arange(5),
        "b": draw.standard_normal((4, 5)),
    }
    updates: list[Arrays] = [
        {
            "b": base["b"] + draw.standard_normal((4, 5)),
            "a": base["a"] * np.float32(n),
            "steps": np.arange(5) * 1000 * n,
        }
        for n in range(4)
    ]
    deltas = np.array([flat({name: u[name] for name in base}) - flat(base) for u in updates])
    model = bench.model(base)
    with stack(bench, model, [(update, model) for update in updates], block=block) as made:
        found = geometry(made)
    assert np.allclose(found.distances, exact(deltas), rtol=1e-12)
    assert np.allclose(found.norms, (deltas**2).sum(axis=1), rtol=1e-12)
    assert np.array_equal(found.distances, found.distances.T), "who is first does not matter, to the last bit"
    assert not found.distances.diagonal().any()


def test_steps_of_a_ten_thousandth_keep_their_digits(bench: Any) -> None:
    """From products of models, in float32, not one digit of these distances would be left."""
    draw = np.random.default_rng(1)
    base = {"w": draw.standard_normal(100_000).astype(np.float32)}
    updates = [{"w": (base["w"] + 1e-4 * draw.standard_normal(100_000)).astype(np.float32)} for _ in range(6)]
    model = bench.model(base)
    with stack(bench, model, [(update, model) for update in updates]) as made:
        found = geometry(made)
    wanted = exact(np.array([u["w"].astype(np.float64) - base["w"] for u in updates]))
    assert np.allclose(found.distances, wanted, rtol=1e-11)


def test_each_delta_is_to_the_model_that_its_client_had(bench: Any) -> None:
    one, two = bench.model({"w": np.zeros(3)}), bench.model({"w": np.full(3, 10.0)})
    with stack(
        bench, one, [({"w": np.ones(3)}, one), ({"w": np.full(3, 11.0)}, two), ({"w": np.ones(3)}, one)]
    ) as made:
        found = geometry(made)
    assert found.distances.tolist() == [[0.0] * 3] * 3
    assert found.norms.tolist() == [3.0] * 3


def test_what_is_too_far_for_a_float64_is_infinitely_far(bench: Any) -> None:
    model = bench.model({"w": np.zeros(2)})
    with stack(bench, model, [({"w": np.full(2, v)}, model) for v in (1e200, 1.0, 2.0)]) as made:
        distances = geometry(made).distances
    assert distances[0, 1:].tolist() == [np.inf, np.inf]
    assert distances[1, 2] == 2.0


def test_more_updates_than_can_be_compared_are_refused_with_a_way_out(bench: Any) -> None:
    model = bench.model({"w": np.zeros(1)})
    with stack(bench, model, [({"w": np.ones(1)}, model)]) as made:
        made.brought *= MOST + 1
        with pytest.raises(
            FormulaError, match=r"distances between 2,001 updates .* at most 2,000 .* Lower clients\.max"
        ):
            geometry(made)


def blas_threads() -> list[int]:
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_blas_has_one_thread_while_anyone_is_inside_and_then_as_many_as_before() -> None:
    before = blas_threads()
    with ONE_THREAD:
        with ONE_THREAD:
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
