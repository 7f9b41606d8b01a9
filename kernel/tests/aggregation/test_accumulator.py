from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.accumulator import Accumulator
from fedk.aggregation.grid import Grid
from fedk.aggregation.terms import Terms
from fedk_protocol.codec import layout_of

BASE: dict[str, NDArray[Any]] = {
    "w": np.zeros(5, np.float32),
    "wide": np.zeros(3),
    "bn.running_mean": np.zeros(2, np.float32),
    "steps": np.zeros(2, np.int64),
    "mask": np.zeros(2, np.bool_),
}
GRID = Grid(layout_of(BASE))
SOME = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Update = tuple[dict[str, NDArray[Any]], Terms]


def update(number: int) -> Update:
    draw = np.random.default_rng([3, number])
    tensors: dict[str, NDArray[Any]] = {
        "w": draw.standard_normal(5, np.float32),
        "wide": draw.standard_normal(3) * 10.0 ** draw.integers(-8, 8),
        "bn.running_mean": draw.standard_normal(2, np.float32),
        "steps": draw.integers(-(2**62), 2**62, 2),
        "mask": draw.integers(0, 2, 2).astype(np.bool_),
    }
    return tensors, Terms(float(draw.integers(1, 1000)), float(draw.choice([1.0, 0.5])), {"s": float(number)})


def summed(updates: Sequence[Update], first: int = 0) -> Accumulator:
    accumulator = Accumulator(GRID, ("control",))
    for number, (tensors, terms) in enumerate(updates, first):
        share = accumulator.begin(f"k{number}", terms)
        for run in GRID.runs:
            block = np.concatenate([tensors[tensor.name] for tensor in run.tensors])
            for start in range(0, run.count, 2):
                accumulator.add(share, "model", run, start, block[start : start + 2])
                if run.kind.name == "STEPPED":
                    accumulator.add(share, "control", run, start, -block[start : start + 2])
    return accumulator


def means(accumulator: Accumulator, name: str = "model") -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    for run in GRID.runs:
        if name == "model" or run.kind.name == "STEPPED":
            mean = accumulator.mean(name, run, 0, np.empty(run.count))
            found |= {t.name: mean[run.tensor_at(i)[1] :][: t.size] for i, t in firsts(run)}
    return found


def firsts(run: Any) -> list[tuple[int, Any]]:
    at = np.cumsum([0, *(tensor.size for tensor in run.tensors)])
    return list(zip(at.tolist(), run.tensors, strict=False))


def exact(updates: Sequence[Update], name: str, element: int, *, scaled: bool) -> Fraction:
    total = weight = Fraction(0)
    for tensors, terms in updates:
        factor = Fraction(terms.weight) * Fraction(terms.scale if scaled else 1.0)
        total += factor * Fraction(float(tensors[name][element]))
        weight += Fraction(terms.weight)
    return total / weight


@given(st.integers(1, 12))
@SOME
def test_the_mean_is_that_of_exact_arithmetic(count: int) -> None:
    updates = [update(number) for number in range(count)]
    for name, mean in means(summed(updates)).items():
        scaled = name in ("w", "wide")
        size = max(abs(float(tensors[name][i])) for tensors, _ in updates for i in range(mean.size))
        for element, value in enumerate(mean):
            wanted = float(exact(updates, name, element, scaled=scaled))
            assert value == pytest.approx(wanted, rel=1e-14, abs=1e-15 * size * count)


def test_whole_weights_of_float32_values_are_summed_exactly_in_any_order() -> None:
    updates = [(tensors, Terms(terms.weight)) for tensors, terms in map(update, range(50))]
    forth, back = means(summed(updates)), means(summed(updates[::-1]))
    assert forth["w"].tobytes() == back["w"].tobytes()


@given(st.integers(0, 10**6))
@SOME
def test_one_update_alone_is_its_own_mean_bit_for_bit(seed: int) -> None:
    """(w·u)/w differs from u in one float64 of eleven; -0.0 would lose its sign in a sum."""
    tensors, terms = update(seed)
    tensors["wide"][0] = -0.0
    accumulator = summed([(tensors, Terms(terms.weight))])
    mean = means(accumulator)
    for name in ("w", "wide", "bn.running_mean", "mask"):
        assert mean[name].astype(tensors[name].dtype).tobytes() == tensors[name].tobytes()


def test_ten_thousand_clients_lose_no_digit() -> None:
    """Sums of whole weights times float32 values, near 100 and 1e-3 apart, beside exact fractions."""
    draw = np.random.default_rng(0)
    values, weights = (100 + 1e-3 * draw.standard_normal(10_000)).astype(np.float32), draw.integers(1, 1000, 10_000)
    grid = Grid(layout_of({"w": np.zeros(1, np.float32)}))
    accumulator = Accumulator(grid)
    for number, (value, weight) in enumerate(zip(values, weights.tolist(), strict=True)):
        share = accumulator.begin(f"k{number}", Terms(float(weight)))
        accumulator.add(share, "model", grid.runs[0], 0, value.reshape(1))
    total = sum((Fraction(float(v)) * w for v, w in zip(values, weights.tolist(), strict=True)), Fraction(0))
    mean = accumulator.mean("model", grid.runs[0], 0, np.empty(1))[0]
    assert mean == pytest.approx(float(total / sum(weights.tolist())), rel=1e-15)


def test_every_integer_lies_between_its_least_and_greatest() -> None:
    updates = [update(number) for number in range(5)]
    steps = np.stack([tensors["steps"] for tensors, _ in updates])
    least, greatest = summed(updates).ranges["steps"]
    assert (least.tolist(), greatest.tolist()) == (steps.min(0).tolist(), steps.max(0).tolist())


# ---- merging ----


def trees(count: int) -> st.SearchStrategy[Any]:
    """Random trees over 0 … count - 1: a leaf is a list of numbers, folded in order."""

    def grow(numbers: tuple[int, ...]) -> st.SearchStrategy[Any]:
        leaf = st.just(list(numbers))
        if len(numbers) < 2:
            return leaf
        cut = st.integers(1, len(numbers) - 1)
        return leaf | cut.flatmap(lambda at: st.tuples(grow(numbers[:at]), grow(numbers[at:])))

    return st.permutations(range(count)).flatmap(lambda numbers: grow(tuple(numbers)))


def merged(tree: Any, updates: list[Update]) -> Accumulator:
    if isinstance(tree, list):
        whole = Accumulator(GRID, ("control",))
        for number in tree:
            whole.merge(summed([updates[number]], number))
        return whole
    left, right = (merged(branch, updates) for branch in tree)
    left.merge(right)
    return left


def assert_same_sums(one: Accumulator, other: Accumulator) -> None:
    assert (one.terms, one.weight) == (other.terms, other.weight)
    assert one.summary().scalars == other.summary().scalars
    for name in ("model", "control"):
        for tensor, mean in means(one, name).items():
            size = np.abs(mean).max(initial=0) + 1e-300
            assert np.allclose(mean, means(other, name)[tensor], rtol=1e-13, atol=1e-13 * size)
    assert [end.tolist() for end in one.ranges["steps"]] == [end.tolist() for end in other.ranges["steps"]]


@given(trees(9))
@SOME
def test_any_tree_of_accumulators_is_the_flat_sum_to_float64_rounding(tree: Any) -> None:
    updates = [update(number) for number in range(9)]
    assert_same_sums(merged(tree, updates), summed(updates))


@given(trees(6))
@SOME
def test_sums_that_travel_as_blobs_are_those_that_are_merged_in_memory(bench: Any, tree: Any) -> None:
    updates = [update(number) for number in range(6)]
    parent = Accumulator(GRID, ("control",))
    for child in tree if isinstance(tree, tuple) else (tree,):
        travelling = merged(child, updates)
        parts = {}
        for part in travelling.parts():
            blob = bytearray()
            travelling.export(part, blob.extend)
            parts[part] = bench.model(bytes(blob))
        parent.take(travelling.summary(), parts)
    assert_same_sums(parent, summed(updates))


def test_exported_sums_are_float64_under_the_tensors_own_names(bench: Any) -> None:
    accumulator = summed([update(1), update(2)])
    blob = bytearray()
    accumulator.export("control/0", blob.extend)
    layout = bench.model(bytes(blob)).layout
    assert {tensor.name: str(tensor.dtype) for tensor in layout.tensors} == {"w": "float64", "wide": "float64"}


def test_one_update_stays_alone_where_it_is_merged_into_nothing() -> None:
    whole = Accumulator(GRID, ("control",))
    whole.merge(Accumulator(GRID, ("control",)))
    whole.merge(summed([(update(1)[0], Terms(3.0))]))
    assert means(whole)["wide"].tobytes() == update(1)[0]["wide"].tobytes()


def test_an_update_is_never_summed_twice() -> None:
    whole = summed([update(1)])
    with pytest.raises(ValueError, match="already folded: k0"):
        whole.merge(summed([update(1)]))
    with pytest.raises(ValueError, match="already folded: k0"):
        whole.begin("k0", Terms(1.0))


def test_it_takes_a_float64_for_each_element_of_each_set() -> None:
    assert Accumulator(GRID).nbytes == 14 * 8 + 2 * 2 * 8
    assert Accumulator(GRID, ("control",)).nbytes == 2 * 14 * 8 + 2 * 2 * 8
