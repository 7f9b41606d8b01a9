"""Shapes that need all updates at once: blocks from the spool, what becomes of each kind of tensor, memory."""

import os
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.combining import Combining
from fedk.aggregation.composition import begin, composed
from fedk.aggregation.contribution import Contribution
from fedk.aggregation.state import AggregatorState, first_state
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import (
    Aggregator,
    AnyAggregator,
    Array,
    Block,
    Config,
    CoordinateAggregator,
    Geometry,
    MeanAggregator,
    Recipe,
    Round,
    SelectionAggregator,
    State,
    Update,
    Updates,
)
from fedk.api.errors import BlobError, FormulaError, PluginError
from fedk.api.formulas import median
from fedk.blobs.reader import Span
from fedk_protocol.codec import Safetensors

Arrays = Mapping[str, NDArray[Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Median(CoordinateAggregator[Config]):
    def combine(self, values: Array, weights: Array) -> Array:
        return median(values)


class Weighted(CoordinateAggregator[Config]):
    def combine(self, values: Array, weights: Array) -> Array:
        return np.asarray(weights @ values / weights.sum())


class Chooses(SelectionAggregator[Config]):
    """By weights that a test gives."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = weights

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        return np.array(self.weights)


class Around(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Momentum(MeanAggregator[Config]):
    """For `then`: two state tensors and a scalar."""

    of = "delta"

    def initial(self) -> Mapping[str, float]:
        return {"m": 0.0, "steps": 1.0}

    def initial_scalars(self) -> Mapping[str, float]:
        return {"rounds": 0.0}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = 0.5 * state["m"] + mean
        return x + m, {"m": m, "steps": state["steps"] + 1}

    def finish(self, r: Round) -> Mapping[str, float]:
        return {"rounds": r.scalars["rounds"] + 1}


class Clipping(Aggregator[Config]):
    """Two passes of its own, a state tensor, a scalar: moves by the mean of deltas that are clipped to their median norm."""

    def initial(self) -> Mapping[str, float]:
        return {"moved": 0.0}

    def initial_scalars(self) -> Mapping[str, float]:
        return {"radius": 0.0}

    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        squares = np.zeros(len(updates))
        for block in updates.blocks():
            squares += ((block.values - block.base) ** 2).sum(axis=1)
        norms = np.sqrt(squares)
        radius = float(np.median(norms))
        scales = np.minimum(1, radius / norms)

        def step(block: Block) -> tuple[Array, State]:
            moved = 0.5 * block.state["moved"] + (scales[:, None] * (block.values - block.base)).mean(axis=0)
            return block.base + moved, {"moved": moved}

        return Recipe(
            range(len(updates)), updates.weights, step, lambda values, _: np.median(values, axis=0), {"radius": radius}
        )

    def finish(self, r: Round) -> Mapping[str, float]:
        return {"radius": r.sums["radius"]}


def combined(
    bench: Any,
    aggregator: AnyAggregator[Any],
    base: Arrays,
    updates: Sequence[Arrays],
    state: AggregatorState | None = None,
    *,
    weights: Sequence[int] = (),
    **how: Any,
) -> Combining:
    model = bench.model(base)
    combining = begin(aggregator, model, state or first_state(aggregator), Round(1, 9, 9), **how)
    assert isinstance(combining, Combining)
    for number, arrays in enumerate(updates):
        update = Update(f"k{number}", f"c{number}", weights[number] if weights else 1)
        combining.fold(bench.contribution(aggregator, model, update, model=arrays))
    return combining


def result(bench: Any, *wanted: Any, **how: Any) -> dict[str, NDArray[Any]]:
    model: dict[str, NDArray[Any]] = bench.finished(combined(bench, *wanted, **how))[0]
    return model


# ---- coordinates ----


@given(st.integers(1, 9), st.sampled_from(["f8", "f4", "f2", "bfloat16"]), st.sampled_from([1, 3, 1000]))
@SOME
def test_each_element_is_made_of_that_element_of_all_updates(bench: Any, k: int, kind: str, block: int) -> None:
    draw, dtype = np.random.default_rng(k), np.dtype(getattr(ml_dtypes, kind, kind))
    base = {
        "b": np.ones((2, 3), dtype),
        "a": np.ones(5, dtype),
        "none": np.ones((0, 2), dtype),
        "one": np.ones((), dtype),
    }
    updates = [{n: np.asarray(draw.standard_normal(a.shape)).astype(dtype) for n, a in base.items()} for _ in range(k)]
    model = result(bench, Median(), base, updates, block=block)
    assert list(model) == list(base)
    for name, value in model.items():
        wanted = np.median([update[name].astype(np.float64) for update in updates], axis=0)
        narrow = np.asarray(wanted.astype(np.float32) if dtype == BFLOAT16 else wanted).astype(dtype)
        assert value.dtype == dtype
        assert value.tobytes() == narrow.tobytes()


def test_updates_may_order_their_tensors_as_they_like(bench: Any) -> None:
    base: Arrays = {"a": np.zeros(300), "b": np.zeros(2, np.float32), "c": np.zeros(4), "d": np.arange(3)}
    updates = []
    for number in range(5):
        update = {name: value + number for name, value in base.items()}
        names = np.random.default_rng(number).permutation(list(update))
        updates.append({str(name): update[str(name)].astype(base[str(name)].dtype) for name in names})
    for block in (1, 7, 1 << 16):
        model = result(bench, Median(), base, updates, block=block)
        assert {name: value.tolist() for name, value in model.items()} == {
            name: (value + 2).tolist() for name, value in base.items()
        }


class Nearest(SelectionAggregator[Config]):
    """Weights of all, by how far each is from the others."""

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        return np.asarray(weights / geometry.distances.sum(axis=1))


@pytest.mark.parametrize("aggregator", [Weighted(), Nearest(), Clipping(), composed(Weighted(), then=Momentum())])
def test_no_order_of_arrival_is_seen_in_a_bit(bench: Any, aggregator: AnyAggregator[Any]) -> None:
    """Float64 from 1e-12 to 1e12, weights that are no whole numbers: any other order of a sum would show."""
    draw = np.random.default_rng(3)
    base = {"w": draw.standard_normal(50), "steps": np.array([3, 4]), "bn.running_mean": draw.standard_normal(5)}
    updates = [
        {
            "w": draw.standard_normal(50) * 10.0 ** draw.integers(-12, 13, 50),
            "steps": draw.integers(-(2**62), 2**62, 2),
            "bn.running_mean": draw.standard_normal(5),
        }
        for _ in range(6)
    ]
    found = set()
    for seed in range(6):
        model = bench.model(base)
        combining = begin(aggregator, model, first_state(aggregator), Round(1, 6, 6), deterministic=True)
        for number in np.random.default_rng(seed).permutation(6):
            spans = {"model": bench.span(updates[number])}
            update = Update(f"k{number}", f"c{number}", int(number) + 1)
            combining.fold(Contribution(update, Terms(0.1 + number / 7), spans, model))
        after, state = bench.finished(combining)
        tensors = [] if state.tensors is None else list(bench.arrays(state.tensors).values())
        found.add((*(a.tobytes() for a in (*after.values(), *tensors)), str(state.scalars)))
    assert len(found) == 1


def test_integers_and_booleans_go_through_the_same_rule(bench: Any) -> None:
    base = {
        "w": np.zeros(1),
        "steps": np.array([0, 0, 0]),
        "byte": np.zeros(2, np.uint8),
        "mask": np.array([True, False]),
    }
    updates = [
        {"w": np.ones(1), "steps": np.array([1, 2**62 + 1, n]), "byte": np.array([n * 100, 7], np.uint8),
         "mask": np.array([n > 0, n > 1])}
        for n in range(3)
    ]  # fmt: skip
    model = result(bench, Median(), base, updates)
    assert model["steps"].tolist() == [1, 2**62 + 1, 1]
    assert model["byte"].tolist() == [100, 7]
    assert model["mask"].tolist() == [True, False]
    tied = result(bench, Median(), base, [updates[0], updates[2]])
    assert tied["mask"].tolist() == [True, False], "a tie is the base's"
    assert tied["steps"].tolist() == [1, 2**62 + 1, 1]


def test_plain_tensors_are_combined_and_not_stepped(bench: Any) -> None:
    base = {"w": np.zeros(2), "bn.running_var": np.full(2, 0.04, np.float32)}
    updates = [{"w": np.full(2, float(n)), "bn.running_var": np.full(2, n, np.float32)} for n in range(3)]
    model = result(bench, composed(Median(), then=Momentum()), base, updates)
    assert model["bn.running_var"].tolist() == [1, 1]
    assert model["w"].tolist() == [1, 1]


# ---- selection ----


def test_one_that_is_chosen_alone_comes_back_byte_for_byte(bench: Any) -> None:
    draw = np.random.default_rng(0)
    for dtype in ("f8", "f4", "f2", BFLOAT16):
        base = {"w": np.zeros(1000, dtype), "steps": np.zeros(2, np.int64), "mask": np.array([True])}
        updates = [
            {
                "w": draw.standard_normal(1000).astype(dtype),
                "steps": np.array([2**62 + n, -n]),
                "mask": np.array([n > 0]),
            }
            for n in range(3)
        ]
        model = result(bench, Chooses(0, 0.7, 0), base, updates)
        assert {name: value.tobytes() for name, value in model.items()} == {
            name: value.tobytes() for name, value in updates[1].items()
        }


def test_several_that_are_chosen_are_averaged_by_what_they_count(bench: Any) -> None:
    base = {"w": np.zeros(2), "steps": np.array([0]), "mask": np.array([False])}
    updates = [{"w": np.full(2, v), "steps": np.array([int(v)]), "mask": np.array([v > 2])} for v in (1.0, 3.0, 900.0)]
    model = result(bench, Chooses(1, 3, 0), base, updates)
    assert model["w"].tolist() == [2.5, 2.5]
    assert model["steps"].tolist() == [2]
    assert model["mask"].tolist() == [True]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ((0, 0, 0), "choose raised ValueError: weights are .*; wanted are 3 finite numbers ≥ 0, not all 0"),
        ((1, -1, 1), "weights are .*; wanted are 3 finite numbers"),
        ((np.nan, 1, 1), "weights are .*; wanted are 3 finite numbers"),
        ((1, 1), r"weights are .*; wanted are 3 finite numbers"),
    ],
)
def test_a_choice_that_is_none_is_named(bench: Any, weights: tuple[float, ...], text: str) -> None:
    with pytest.raises(FormulaError, match=text):
        result(bench, Chooses(*weights), {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 3)


# ---- any number of passes ----


def test_an_aggregator_may_pass_over_the_updates_and_keep_state(bench: Any) -> None:
    draw = np.random.default_rng(1)
    now, state, moved = {"a": draw.standard_normal(40), "b": draw.standard_normal(30)}, None, np.zeros(70)
    for _ in range(3):
        x = np.concatenate([now["a"], now["b"]])
        updates = [{"a": now["a"] + draw.standard_normal(40), "b": now["b"] * n} for n in range(5)]
        deltas = np.array([np.concatenate([u["a"], u["b"]]) - x for u in updates])
        norms = np.linalg.norm(deltas, axis=1)
        moved = 0.5 * moved + (np.minimum(1, np.median(norms) / norms)[:, None] * deltas).mean(axis=0)
        now, state = bench.finished(combined(bench, Clipping(), now, updates, state, block=7))
        assert np.allclose(np.concatenate([now["a"], now["b"]]), x + moved, rtol=1e-12)
        assert state.scalars["radius"] == pytest.approx(np.median(norms))
        kept = bench.arrays(state.tensors)
        assert np.allclose(np.concatenate([kept["moved/a"], kept["moved/b"]]), moved)


class Counts(Aggregator[Config]):
    def __init__(self, use: Callable[[Updates], Any]) -> None:
        super().__init__()
        self.use = use

    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        self.found = self.use(updates)
        return updates.mean(np.ones(len(updates)))


def test_the_updates_are_a_sequence_in_the_order_of_their_keys(bench: Any) -> None:
    counts = Counts(lambda u: ([one.key for one in u], u[-1].client, [one.key for one in u[:2]], u.weights.tolist()))
    result(bench, counts, {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 3, weights=[4, 5, 6])
    assert counts.found == (["k0", "k1", "k2"], "c2", ["k0", "k1"], [4.0, 5.0, 6.0])


@pytest.mark.parametrize("among", [[], [0, 0], [3], [-1]])
def test_updates_that_are_none_are_named(bench: Any, among: list[int]) -> None:
    counts = Counts(lambda u: u.coordinates(lambda values, _: values[0], among))
    with pytest.raises(FormulaError, match=r"among is \[.*\]; wanted are different numbers of 0 … 2"):
        result(bench, counts, {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 3)


# ---- what follows ----


def test_a_step_may_follow_and_keeps_its_state(bench: Any) -> None:
    aggregator = composed(Median(), then=Momentum())
    now, state = {"w": np.zeros(3, np.float32)}, None
    for number, wanted in enumerate((1.0, 2.5, 4.25), 1):
        updates = [{"w": now["w"] + np.float32(d)} for d in (1, 900, -900)]
        now, state = bench.finished(combined(bench, aggregator, now, updates, state, block=2))
        assert now["w"].tolist() == [wanted] * 3
        assert bench.arrays(state.tensors)["steps/w"].tolist() == [number + 1.0] * 3
        assert state.scalars == {"rounds": number}


def test_16_bit_models_add_up_steps_below_their_precision(bench: Any) -> None:
    aggregator = composed(Median(), then=Momentum())
    now, state = {"w": np.full(2, 64.0, BFLOAT16)}, None
    for _ in range(4):
        there = {"w": (now["w"].astype(np.float32) + 0.5).astype(BFLOAT16)}
        now, state = bench.finished(combined(bench, aggregator, now, [there] * 3, state))
    assert state is not None
    assert bench.arrays(state.tensors)["master/w"].tolist() == [64 + 0.5 * (1 + 1.5 + 1.75 + 1.875)] * 2
    assert now["w"].astype(float).tolist() == [67.0] * 2


# ---- what fails ----


class Wrong(CoordinateAggregator[Config]):
    def __init__(self, combine: Callable[[Array], Any]) -> None:
        super().__init__()
        self._combine = combine

    def combine(self, values: Array, weights: Array) -> Array:
        return np.asarray(self._combine(values))


@pytest.mark.parametrize(
    ("combine", "text"),
    [
        (
            lambda v: v[0, :1],
            r"Wrong made the block of shape \(1,\) of 3 elements of 2 updates; it must be elementwise",
        ),
        (lambda v: v[5], "Wrong: its combination of the updates raised IndexError"),
        (lambda v: v[0] / 0, r"Wrong: w would not be finite \(3 of 3 values in a block\)"),
    ],
)
def test_a_formula_that_fails_is_named_with_what_it_did(bench: Any, combine: Any, text: str) -> None:
    with pytest.raises(FormulaError, match=text):
        result(bench, Wrong(combine), {"w": np.zeros(3)}, [{"w": np.ones(3)}] * 2)


def test_too_few_updates_are_named_by_number(bench: Any) -> None:
    few = type("Few", (Median,), {"minimum": lambda _: 3})
    with pytest.raises(FormulaError, match="Few needs at least 3 updates, got 2"):
        result(bench, few(), {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 2)


def test_a_result_that_was_cut_short_in_the_spool_is_a_blob_error_and_no_crash(bench: Any) -> None:
    base = {"w": np.zeros(200_000)}
    combining = combined(bench, Median(), base, [{"w": np.ones(200_000)}] * 3)
    os.truncate(bench.folder / str(bench.count), 100_000)
    with pytest.raises(BlobError, match="truncated"):
        bench.finished(combining)


def test_a_result_of_another_model_is_a_blob_error(bench: Any) -> None:
    with pytest.raises(BlobError, match=r"update k0 is damaged where it is kept: w is \[2\], the model's is \[1\]"):
        combined(bench, Median(), {"w": np.zeros(1)}, [{"w": np.ones(2)}])


def test_after_finish_another_one_is_begun(bench: Any) -> None:
    combining = combined(bench, Median(), {"w": np.zeros(1)}, [{"w": np.ones(1)}])
    bench.finished(combining)
    with pytest.raises(RuntimeError, match="begin another"):
        bench.finished(combining)


def test_an_update_counts_once(bench: Any) -> None:
    model = bench.model({"w": np.zeros(1)})
    combining = begin(Median(), model, first_state(Median()), Round(1, 9, 9))
    again = bench.contribution(Median(), model, Update("k", "c", 1), model={"w": np.ones(1)})
    combining.fold(again)
    with pytest.raises(ValueError, match="already there: k"):
        combining.fold(again)


# ---- memory and files ----


@pytest.mark.parametrize("aggregator", [Median(), Chooses(*[1.0] * 40), Clipping()])
def test_memory_does_not_grow_with_the_size_and_number_of_updates(bench: Any, aggregator: AnyAggregator[Any]) -> None:
    """40 updates of 2 MB, in 24 MB: blocks of all updates, and some copies by the formula."""
    base = {"w": np.zeros(500_000, np.float32)}
    combining = combined(bench, aggregator, base, [{"w": base["w"] + np.float32(1)}] * 40)
    tracemalloc.start()
    try:
        combining.finish(lambda _: None, lambda _: None)
        assert tracemalloc.get_traced_memory()[1] < 24e6
    finally:
        tracemalloc.stop()


def test_thousands_of_updates_need_few_open_files(bench: Any) -> None:
    base = {"w": np.zeros(10, np.float32)}
    combining = combined(bench, Median(), base, [{"w": np.full(10, n, np.float32)} for n in range(2_001)])
    before, seen = open_files(), list[int]()
    combining.finish(lambda _: seen.append(open_files()))
    assert max(seen) < before + 200
    assert open_files() <= before


@pytest.mark.parametrize("aggregator", [Median(), Around()])
def test_ten_thousand_clients_with_a_small_model(bench: Any, aggregator: AnyAggregator[Any]) -> None:
    """In one file, as small results stand in the spool; weighted by 1 … 7."""
    base = {"w": np.zeros(200, np.float32)}
    blobs = [Safetensors().dumps({"w": np.full(200, n, np.float32)}) for n in range(10_000)]
    span, size, model = bench.span(b"".join(blobs)), len(blobs[0]), bench.model(base)
    folding = begin(aggregator, model, first_state(aggregator), Round(1, 10_000, 10_000))
    for n in range(10_000):
        blob = Span(span.path, span.offset + n * size, size)
        folding.fold(Contribution(Update(f"k{n}", f"c{n}", n % 7 + 1), Terms(n % 7 + 1), {"model": blob}, model))
    weights = np.arange(10_000) % 7 + 1
    mean = float(np.arange(10_000) @ weights / weights.sum())
    wanted = np.float32(4999.5 if isinstance(folding, Combining) else mean)
    assert bench.finished(folding)[0]["w"].tolist() == [wanted] * 200


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ---- which go together ----


class Needy(Around):
    of = "delta"

    def scale(self, u: Update, r: Round) -> float:
        return 0.5


def test_only_the_step_of_a_mean_shaped_aggregator_can_follow() -> None:
    for then in (Median(), Needy()):
        with pytest.raises(PluginError, match="cannot follow another aggregator"):
            composed(Median(), then=then)


def test_two_that_keep_the_same_state_do_not_follow_one_another() -> None:
    with pytest.raises(PluginError, match="both aggregators have m, steps"):
        composed(Momentum(), then=Momentum())


def test_what_goes_around_nothing_is_named() -> None:
    with pytest.raises(PluginError, match="Median goes around nothing"):
        composed(Around(), [Median()])


def test_extra_sets_are_for_means_only() -> None:
    with pytest.raises(PluginError, match="only mean-shaped aggregators have extra tensor sets"):
        composed(type("WithSets", (Median,), {"sets": ("control",)})())
