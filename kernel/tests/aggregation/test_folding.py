import os
import tracemalloc
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.composition import begin
from fedk.aggregation.folding import Folding
from fedk.aggregation.state import AggregatorState, first_state
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import BlobError, FormulaError, StateError

Arrays = dict[str, NDArray[Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = ("f8", "f4", "f2", "bfloat16", "float8_e4m3fn", "float8_e5m2")
SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Mean(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Delta(MeanAggregator[Config]):
    of = "delta"

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean, {}


class Stale(Delta):
    """Divides by the number of updates, and takes stale ones for less (Nguyen et al. 2022)."""

    def weight(self, u: Update, r: Round) -> float:
        return 1.0

    def scale(self, u: Update, r: Round) -> float:
        return 1 / float(np.sqrt(1 + u.staleness))


class Controlled(Delta):
    sets = ("control",)

    def initial(self) -> dict[str, float]:
        return {"c": 0.5}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean, {"c": state["c"] + r.count / r.population * r.sets["control"]}


class Momentum(MeanAggregator[Config]):
    def initial(self) -> dict[str, float]:
        return {"m": 0.0, "steps": 1.0, "last": 0.0}

    def initial_scalars(self) -> dict[str, float]:
        return {"examples": 0.0}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = 0.9 * state["m"] + (mean - x)
        return x + 0.1 * m, {"m": m, "steps": state["steps"] + 1, "last": mean}

    def finish(self, r: Round) -> Mapping[str, float]:
        return {"examples": r.scalars["examples"] + r.weight}


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def weighted(values: list[NDArray[Any]], examples: list[int]) -> NDArray[np.float64]:
    wide = np.stack([value.astype(np.float64) for value in values])
    return np.asarray(np.tensordot(np.array(examples, np.float64), wide, 1) / sum(examples))


# ---- the mean ----


@given(st.lists(st.integers(1, 2**31), min_size=2, max_size=6), st.sampled_from(FLOATS), st.sampled_from([1, 3, 1000]))
@SOME
def test_the_model_is_the_weighted_mean_in_each_dtype(bench: Any, examples: list[int], kind: str, block: int) -> None:
    draw, dtype = np.random.default_rng(examples), dtype_of(kind)
    base = {
        "b": np.ones((2, 3), dtype),
        "a": np.ones(5, dtype),
        "none": np.ones((0, 2), dtype),
        "one": np.ones((), dtype),
    }
    updates = [{n: np.asarray(draw.standard_normal(a.shape)).astype(dtype) for n, a in base.items()} for _ in examples]
    folding = bench.folded(Mean(), base, list(zip(updates, examples, strict=True)), block=block)
    model, _ = bench.finished(folding)
    assert list(model) == list(base)
    for name, value in model.items():
        wanted = weighted([update[name] for update in updates], examples)
        assert (value.dtype, value.shape) == (dtype, base[name].shape)
        off = np.abs(value.astype(np.float64) - wanted)
        assert np.all(off <= 0.51 * np.asarray(np.spacing(np.abs(value)), np.float64) + 1e-15)


def test_updates_may_order_their_tensors_as_they_like(bench: Any) -> None:
    base = {"a": np.zeros(3), "b": np.zeros(2, np.float32), "c": np.zeros(4)}
    update = {"c": np.arange(4.0), "a": np.arange(3.0), "b": np.arange(2, dtype=np.float32)}
    model, _ = bench.finished(bench.folded(Mean(), base, [(update, 1), (dict(reversed(update.items())), 3)]))
    for name, value in update.items():
        assert model[name].tolist() == value.tolist()


def test_integers_are_rounded_half_to_even_and_booleans_go_by_majority(bench: Any) -> None:
    base = {"w": np.zeros(1), "steps": np.array([5, 5, 5]), "byte": np.zeros(2, np.uint8), "mask": np.array([True] * 3)}
    one = {
        "w": np.ones(1),
        "steps": np.array([1, 2, -3]),
        "byte": np.array([255, 0], np.uint8),
        "mask": np.array([True, False, False]),
    }
    two = {
        "w": np.ones(1),
        "steps": np.array([2, 3, -4]),
        "byte": np.array([255, 1], np.uint8),
        "mask": np.array([True, True, False]),
    }
    model, _ = bench.finished(bench.folded(Mean(), base, [(one, 7), (two, 7)]))
    assert model["steps"].tolist() == [2, 2, -4]
    assert model["byte"].tolist() == [255, 0]
    assert model["mask"].tolist() == [True, True, False]


def test_large_integers_that_all_agree_on_are_exact(bench: Any) -> None:
    base = {"seed": np.array([1, 2], np.uint64)}
    agreed = {"seed": np.array([2**64 - 1, 2**63 + 12345], np.uint64)}
    model, _ = bench.finished(bench.folded(Mean(), base, [(agreed, 3), (agreed, 7), (agreed, 1)]))
    assert model["seed"].tolist() == agreed["seed"].tolist()


def test_tensors_that_are_not_stepped_are_means_of_models_without_scale(bench: Any) -> None:
    """A delta's scale has no meaning for a running mean or a counter."""
    base = {"w": np.zeros(2), "bn.running_mean": np.full(2, 8.0), "steps": np.array([100])}
    update = {"w": np.full(2, 4.0), "bn.running_mean": np.full(2, 2.0), "steps": np.array([40])}
    folding = bench.folding(Stale(), base)
    folding.fold(bench.contribution(Stale(), bench.opened[-1], Update("a", "a", 9, staleness=3), model=update))
    model, _ = bench.finished(folding)
    assert model["w"].tolist() == [2.0, 2.0]
    assert model["bn.running_mean"].tolist() == [2.0, 2.0]
    assert model["steps"].tolist() == [40]


@pytest.mark.parametrize("name", FLOATS)
def test_one_update_alone_comes_back_byte_for_byte(bench: Any, name: str) -> None:
    draw, dtype = np.random.default_rng(1), dtype_of(name)
    base = {"w": draw.standard_normal(500).astype(dtype), "steps": np.array([2**60 + 1])}
    update = {"w": draw.standard_normal(500).astype(dtype), "steps": np.array([2**60 + 3])}
    update["w"][0] = -0.0
    model, _ = bench.finished(bench.folded(Mean(), base, [(update, 37)]))
    assert {n: a.tobytes() for n, a in model.items()} == {n: a.tobytes() for n, a in update.items()}


def test_the_next_model_has_the_bytes_of_its_bases_header(bench: Any) -> None:
    """Order and metadata stay, and a model that nobody changed keeps its hash."""
    base = {"z": np.ones(3, np.float32), "a": np.zeros(2)}
    folding = bench.folded(Mean(), base, [(base, 1), (base, 2)])
    model = bytearray()
    folding.finish(model.extend)
    opened = bench.opened[0]
    assert bytes(model) == opened.reader.read(0, opened.reader.size)


def test_the_largest_element_of_the_next_model_is_known(bench: Any) -> None:
    base = {"a": np.zeros(3), "b": np.zeros(3, BFLOAT16), "steps": np.array([9])}
    update = {"a": np.array([1.0, -7.5, 3.0]), "b": np.full(3, 2.0, BFLOAT16), "steps": np.array([9])}
    folding = bench.folded(Mean(), base, [(update, 1)])
    bench.finished(folding)
    assert folding.max_abs == 7.5


# ---- deltas ----


def test_a_delta_is_to_the_model_that_this_client_trained_on(bench: Any) -> None:
    base, older = {"w": np.array([10.0, 20.0])}, {"w": np.array([1.0, 2.0])}
    folding = bench.folding(Stale(), base)
    on_base, on_older = bench.opened[-1], bench.model(older)
    folding.fold(bench.contribution(Stale(), on_base, Update("a", "a", 9), model={"w": np.array([12.0, 20.0])}))
    folding.fold(
        bench.contribution(Stale(), on_older, Update("b", "b", 1, staleness=3), model={"w": np.array([1.0, 10.0])})
    )
    model, _ = bench.finished(folding)
    assert model["w"].tolist() == [10 + (2.0 + 0.0) / 2, 20 + (0.0 + 8.0 / 2) / 2]


@given(st.integers(0, 2**32), st.sampled_from([1, 7, 1000]))
@SOME
def test_deltas_are_those_of_float64(bench: Any, seed: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    base = {"w": draw.standard_normal(40, np.float32), "v": draw.standard_normal(3, np.float32)}
    updates = [
        {n: a + draw.standard_normal(a.shape, np.float32) * np.float32(1e-4) for n, a in base.items()} for _ in range(4)
    ]
    examples = draw.integers(1, 100, 4).tolist()
    model, _ = bench.finished(bench.folded(Delta(), base, list(zip(updates, examples, strict=True)), block=block))
    for name, before in base.items():
        deltas = [update[name].astype(np.float64) - before for update in updates]
        assert np.allclose(model[name], before + weighted(deltas, examples), rtol=1e-7, atol=0)


# ---- several at once ----


@given(st.integers(1, 20), st.integers(0, 10**6), st.sampled_from([Mean, Stale, Delta]))
@SOME
def test_a_queue_that_is_folded_at_once_is_the_same_to_the_bit(
    bench: Any, count: int, seed: int, of: type[Mean]
) -> None:
    """Updates to two bases, in three orders of their tensors, with weights that round."""
    draw, aggregator = np.random.default_rng(seed), of()
    base: Arrays = {"a": np.ones(700), "b.running_mean": np.ones(3), "c": np.ones(40, np.float32), "n": np.arange(3)}
    older = bench.model({name: (array + array).astype(array.dtype) for name, array in base.items()})
    one_by_one, at_once = bench.folding(aggregator, base, block=64), bench.folding(aggregator, base, block=64)
    newer, orders = bench.opened[-1], [list(base), list(base)[::-1], ["c", "a", "n", "b.running_mean"]]
    coming = []
    for number in range(count):
        arrays = {n: (1000 * draw.standard_normal(a.shape)).astype(a.dtype) for n, a in base.items()}
        arrays = {name: arrays[name] for name in orders[number % 7 % 3]}
        update = Update(f"{number}", "c", number + 1, staleness=int(draw.integers(5)))
        coming.append(bench.contribution(aggregator, older if number % 5 == 4 else newer, update, model=arrays))
    for contribution in coming:
        one_by_one.fold(contribution)
    first = int(draw.integers(count + 1))
    at_once.fold(*coming[:first])
    at_once.fold(*coming[first:])
    wanted, found = bench.finished(one_by_one)[0], bench.finished(at_once)[0]
    assert {name: value.tobytes() for name, value in found.items()} == {n: v.tobytes() for n, v in wanted.items()}


@given(st.permutations(range(9)), st.lists(st.integers(1, 9), min_size=9), st.integers(0, 100), st.integers(1, 90))
@SOME
def test_orders_queues_and_blocks_of_a_deterministic_round_are_not_seen_in_a_bit(
    bench: Any, order: list[int], queues: list[int], seed: int, block: int
) -> None:
    """As a restart makes others of them: updates to two bases, from 1e-12 to 1e12, with scales that round."""
    draw, aggregator = np.random.default_rng(seed), Stale()
    base: Arrays = {"a": np.ones(70), "b.running_mean": np.ones(3), "c": np.ones(40, np.float32), "n": np.arange(3)}
    newer, older = bench.model(base), bench.model({name: array + array for name, array in base.items()})
    coming = []
    for number in range(9):
        arrays = {n: (draw.standard_normal(a.shape) * 10.0 ** draw.integers(-12, 13)).astype(a.dtype)
                  for n, a in base.items()}  # fmt: skip
        update = Update(f"{number}", "c", 1, staleness=int(draw.integers(5)))
        coming.append(bench.contribution(aggregator, older if number % 3 else newer, update, model=arrays))
    models = []
    for numbers, how in ((range(9), {}), (order, {"block": block})):
        folding = begin(aggregator, newer, first_state(aggregator), Round(1, 9, 9), deterministic=True, **how)
        left, sizes = list(numbers), iter(queues)
        while left:
            queue, left = left[: (size := next(sizes))], left[size:]
            folding.fold(*(coming[number] for number in queue))
        models.append({name: value.tobytes() for name, value in bench.finished(folding)[0].items()})
    assert models[0] == models[1]


# ---- sets and state ----


def test_extra_sets_are_averaged_as_the_model_and_the_state_goes_on(bench: Any) -> None:
    base = {"w": np.zeros(3, np.float32), "steps": np.array([1])}
    state = None
    for wanted in (0.5 + 2 / 9 * 2.0, 0.5 + 2 * 2 / 9 * 2.0):
        folding = bench.folding(Controlled(), base, state)
        at = bench.opened[-1]
        for key, value in (("a", 1.0), ("b", 3.0)):
            update = Update(key, key, 10)
            control = {"w": np.full(3, value, np.float32)}
            folding.fold(bench.contribution(Controlled(), at, update, model=base, control=control))
        _, state = bench.finished(folding)
        assert state.tensors is not None
        assert bench.arrays(state.tensors)["c/w"] == pytest.approx(np.full(3, wanted), rel=1e-15)


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_states_come_out_as_float64_named_by_state_and_tensor(bench: Any, block: int) -> None:
    """Three states and one tensor set: one is written at once, one waits in the sums, one beside them."""
    base = {
        "a": np.zeros((2, 2), np.float32),
        "bn.running_var": np.ones(3, np.float32),
        "z": np.ones(3),
        "n": np.array(1),
    }
    update = {
        "a": np.full((2, 2), 4.0, np.float32),
        "bn.running_var": np.ones(3, np.float32),
        "z": np.arange(3.0),
        "n": np.array(1),
    }
    state = None
    for number in (1, 2):
        folding = bench.folding(Momentum(), base, state, block=block)
        folding.fold(bench.contribution(Momentum(), bench.opened[-1], Update("k", "c", 6), model=update))
        model, state = bench.finished(folding)
        assert state.tensors is not None
        tensors = bench.arrays(state.tensors)
        assert sorted(tensors) == ["last/a", "last/z", "m/a", "m/z", "steps/a", "steps/z"]
        assert {str(tensor.dtype) for tensor in tensors.values()} == {"float64"}
        assert tensors["steps/a"].tolist() == [[1.0 + number] * 2] * 2
        assert tensors["last/z"].tolist() == [0.0, 1.0, 2.0]
        assert state.scalars == {"examples": 6.0 * number}
    assert tensors["m/a"] == pytest.approx(np.full((2, 2), 0.9 * 4 + 4))
    assert model["a"] == pytest.approx(np.full((2, 2), 0.1 * (0.9 * 4 + 4)))


def test_a_state_of_another_formula_is_not_taken_for_its_own(bench: Any) -> None:
    base = {"w": np.zeros(3)}
    _, state = bench.finished(bench.folded(Momentum(), base, [(base, 1)]))
    with pytest.raises(StateError, match="the blob has other tensors than c for this model"):
        bench.folding(Controlled(), base, AggregatorState(state.tensors))


def test_noise_is_there_for_formulas_that_declare_it(bench: Any) -> None:
    class Noisy(Mean):
        random = True

        def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
            return mean + r.normal(len(x)), {}

    class Undeclared(Noisy):
        random = False

    base = {"w": np.zeros(1000)}
    model, _ = bench.finished(bench.folded(Noisy(), base, [(base, 1)]))
    assert 0.8 < model["w"].std() < 1.2
    with pytest.raises(FormulaError, match="declare `random = True`"):
        bench.finished(bench.folded(Undeclared(), base, [(base, 1)]))


# ---- formulas that fail ----


HUGE = {"a": np.zeros(3, np.float32), "b": np.full(2, 3e38, np.float32)}
SMALL = {"b": np.array([0, 1, -1], np.float32)}


@pytest.mark.parametrize(
    ("answer", "base", "text"),
    [
        (lambda x, _: (x / 0, {}), SMALL, r"Wrong: b would not be finite \(3 of 3 values in a block\)"),
        (lambda x, _: (x * 2, {}), HUGE, r"Wrong: b would not be finite \(2 of 5 values in a block\)"),
        (lambda x, _: (x[:1], {}), SMALL, r"gave x' of shape \(1,\) for a block of 3 elements; it must be elementwise"),
        (lambda x, _: (x, {"m": x}), SMALL, r"step gave the states \['m'\], initial\(\) names \[\]"),
        (lambda x, _: x, SMALL, "step raised ValueError"),
        (lambda x, mean: (x, mean.fill(0)), SMALL, "step raised ValueError: assignment destination is read-only"),
        (lambda x, _: (x["w"], {}), SMALL, r"step raised IndexError: .* \(.*test_folding.py:\d+\)"),
    ],
)
def test_a_formula_that_fails_is_named_with_what_it_did(bench: Any, answer: Any, base: Arrays, text: str) -> None:
    wrong = type("Wrong", (Mean,), {"step": lambda _, x, mean, *__: answer(x, mean)})
    folding = bench.folded(wrong(), base, [(base, 1)])
    with pytest.raises(FormulaError, match=text):
        bench.finished(folding)


def test_sums_that_overflow_are_found_in_the_model_they_would_make(bench: Any) -> None:
    for dtype in ("f8", "bfloat16"):
        base = {"w": np.zeros(2, dtype_of(dtype))}
        huge = {"w": np.full(2, 1e305 if dtype == "f8" else 3e38).astype(dtype_of(dtype))}
        double = type("Double", (Mean,), {"step": lambda *given: (given[2] * 2, {})})
        with pytest.raises(FormulaError, match="w would not be finite"):
            bench.finished(bench.folded(double(), base, [(huge, 10**4), (huge, 10**4)]))


def test_too_few_updates_are_named_by_number(bench: Any) -> None:
    class Picky(Mean):
        def minimum(self) -> int:
            return 3

    base = {"w": np.zeros(1)}
    with pytest.raises(FormulaError, match=r"Picky needs at least 3 updates, got 2"):
        bench.finished(bench.folded(Picky(), base, [(base, 1), (base, 1)]))


def test_weights_that_sum_to_nothing_are_the_formulas_error(bench: Any) -> None:
    class Weightless(Mean):
        def weight(self, u: Update, r: Round) -> float:
            return 0.0

    base = {"w": np.zeros(1)}
    with pytest.raises(FormulaError, match="the weights of 2 updates sum to 0"):
        bench.finished(bench.folded(Weightless(), base, [(base, 1), (base, 1)]))


def test_scalars_that_are_not_finite_are_the_formulas_error(bench: Any) -> None:
    class Lost(Mean):
        def finish(self, r: Round) -> Mapping[str, float]:
            return {"clip": float("nan")}

    base = {"w": np.zeros(1)}
    with pytest.raises(FormulaError, match="finish gave clip = nan"):
        bench.finished(bench.folded(Lost(), base, [(base, 1)]))


# ---- bytes that fail ----


def test_a_missing_or_shortened_update_is_named_and_breaks_the_folding(bench: Any) -> None:
    base = {"w": np.zeros(100)}
    folding = bench.folding(Mean(), base)
    contribution = bench.contribution(Mean(), bench.opened[-1], Update("k", "c", 1), model=base)
    os.truncate(contribution.blobs["model"].path, 50)
    with pytest.raises(BlobError, match=f"{contribution.blobs['model'].path} ends before byte"):
        folding.fold(contribution)
    with pytest.raises(RuntimeError, match="finished, closed or broken: begin another"):
        folding.finish(bytearray().extend)


def test_bytes_of_another_model_are_named(bench: Any) -> None:
    folding = bench.folding(Mean(), {"w": np.zeros(3)})
    other = bench.contribution(Mean(), bench.opened[-1], Update("k", "c", 1), model={"v": np.zeros(3)})
    with pytest.raises(BlobError, match="update k is damaged where it is kept: missing w, unexpected v"):
        folding.fold(other)


def test_a_set_that_is_not_there_is_named(bench: Any) -> None:
    folding = bench.folding(Controlled(), {"w": np.zeros(3)})
    bare = bench.contribution(Controlled(), bench.opened[-1], Update("k", "c", 1), model={"w": np.zeros(3)})
    with pytest.raises(BlobError, match="the tensor set control of update k is missing"):
        folding.fold(bare)


# ---- a folding's life ----


def test_it_knows_what_it_has_folded_and_what_memory_it_takes(bench: Any) -> None:
    base = {"w": np.zeros(1000, np.float32)}
    folding = bench.folded(Mean(), base, [(base, 1), (base, 2)])
    assert folding.keys == {"k0", "k1"}
    assert folding.nbytes == 8000
    folding.close()
    assert folding.keys == frozenset()


def test_it_is_finished_once(bench: Any) -> None:
    base = {"w": np.zeros(3)}
    folding = bench.folded(Mean(), base, [(base, 1)])
    bench.finished(folding)
    with pytest.raises(RuntimeError, match="begin another"):
        bench.finished(folding)


def test_state_tensors_want_a_place_to_go(bench: Any) -> None:
    base = {"w": np.zeros(3)}
    with pytest.raises(ValueError, match="finish needs state_out"):
        bench.folded(Momentum(), base, [(base, 1)]).finish(bytearray().extend)


def test_memory_is_the_accumulator_however_many_updates_and_whatever_the_size(bench: Any) -> None:
    """4 M elements: 16 MB of model, 32 MB of sums, and two float64 states that are written without being held."""

    class Adam(Mean):
        def initial(self) -> dict[str, float]:
            return {"m": 0.0, "v": 1e-6}

        def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
            m, v = 0.9 * state["m"] + 0.1 * (mean - x), 0.99 * state["v"] + 0.01 * (mean - x) ** 2
            return x + 0.1 * m / np.sqrt(v), {"m": m, "v": v}

    arrays = {"a": np.zeros((1000, 3000), np.float32), "b": np.ones(1_000_000, np.float32)}
    base, aggregator = bench.model(arrays), Adam()
    updates = [bench.contribution(aggregator, base, Update(f"{n}", "c", n + 1), model=arrays) for n in range(4)]
    written = [0]

    def count(data: bytes | memoryview) -> None:
        written[0] += len(data)

    tracemalloc.start()
    try:
        folding = Folding(aggregator, base, first_state(aggregator), Round(1, 4, 4))
        for contribution in updates:
            folding.fold(contribution)
        folding.finish(count, count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written[0] > (4 + 8 + 8) * 4_000_000
    assert folding.nbytes == 8 * 4_000_000
    assert peak < folding.nbytes + 12_000_000
