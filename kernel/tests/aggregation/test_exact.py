"""Exact totals: no order, no tree and no carry shows in a sum; and the same tests find the order in rounded totals."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.accumulator import Accumulator, Sums
from fedk.aggregation.exact import LARGEST, LOWEST, UNITS, Exact, check_products
from fedk.aggregation.expected import Expected
from fedk.aggregation.grid import Grid, Kind
from fedk.aggregation.terms import Terms
from fedk.aggregation.total import Total
from fedk.api.errors import BlobError, FormulaError, Refused
from fedk_protocol.codec import layout_of
from fedk_protocol.rooms import LEAST, ROOMS

BASE: dict[str, NDArray[Any]] = {
    "w": np.zeros(40),
    "half": np.zeros(6, np.float16),
    "bn.running_var": np.zeros(4, np.float32),
    "steps": np.zeros(2, np.int64),
    "mask": np.zeros(3, np.bool_),
}
GRID = Grid(layout_of(BASE))
ONE = Grid(layout_of({"w": np.zeros(1)}))
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Update = tuple[dict[str, NDArray[Any]], Terms]


def update(number: int, seed: int) -> Update:
    """Badly scaled: elements of one tensor from 1e-12 to 1e12, weights that are no whole numbers."""
    draw = np.random.default_rng([seed, number])
    tensors: dict[str, NDArray[Any]] = {
        "w": draw.standard_normal(40) * 10.0 ** draw.integers(-12, 13, 40),
        "half": draw.standard_normal(6).astype(np.float16),
        "bn.running_var": draw.random(4, np.float32),
        "steps": draw.integers(-(2**62), 2**62, 2),
        "mask": draw.integers(0, 2, 3).astype(np.bool_),
    }
    return tensors, Terms(float(draw.random() * 100), float(draw.random()), {"s": float(draw.standard_normal())})


def summed(updates: Sequence[Update], numbers: Sequence[int], total: type[Total]) -> Accumulator:
    accumulator = Accumulator(GRID, ("control",), total=total)
    for number in numbers:
        tensors, terms = updates[number]
        share = accumulator.begin(f"k{number}", terms)
        for run in GRID.runs:
            block = np.concatenate([tensors[tensor.name] for tensor in run.tensors])
            for start in range(0, run.count, 17):
                accumulator.add(share, "model", run, start, block[start : start + 17])
                if run.kind is Kind.STEPPED:
                    accumulator.add(share, "control", run, start, -block[start : start + 17])
    return accumulator


def said(accumulator: Accumulator) -> tuple[bytes, ...]:
    """All that a step is given, as bytes."""
    sums = accumulator.summary()
    found = [np.array([sums.weight, *sums.scalars.values()]).tobytes()]
    for name, run in itertools.product(("model", "control"), GRID.runs):
        if name == "model" or run.kind is Kind.STEPPED:
            found.append(accumulator.mean(name, run, 0, np.empty(run.count)).tobytes())
    return *found, *(end.tobytes() for end in accumulator.ranges["steps"])


# ---- orders and trees ----


@st.composite
def trees(draw: Any, count: int) -> Any:
    """Nested lists over the numbers 0 … count - 1 in any order; those of an inner list travel as blobs or not."""

    def grown(numbers: list[int], depth: int) -> list[Any]:
        if depth == 0 or len(numbers) < 2:
            return list(numbers)
        cut = draw(st.integers(1, len(numbers) - 1))
        halves = (numbers[:cut], numbers[cut:])
        return [part for half in halves for part in ([grown(half, depth - 1)] if draw(st.booleans()) else half)]

    return grown(draw(st.permutations(range(count))), 3)


def folded(bench: Any, tree: list[Any], updates: Sequence[Update], total: type[Total], seed: int) -> Accumulator:
    whole = Accumulator(GRID, ("control",), total=total)
    for place, part in enumerate(tree):
        below = folded(bench, part, updates, total, seed) if isinstance(part, list) else None
        if below is None:
            whole.merge(summed(updates, [part], total))
        elif (seed >> place) % 2:
            whole.merge(below)
        else:
            whole.take(below.summary(), {name: bench.model(exported(below, name)) for name in below.parts()})
    return whole


def exported(accumulator: Accumulator, part: str) -> bytes:
    blob = bytearray()
    accumulator.export(part, blob.extend)
    return bytes(blob)


@given(st.data(), st.integers(1, 9), st.integers(0, 2**20))
@SOME
def test_any_order_and_any_tree_say_the_same_to_the_bit(bench: Any, data: Any, count: int, seed: int) -> None:
    updates = [update(number, seed) for number in range(count)]
    tree = folded(bench, data.draw(trees(count)), updates, Exact, seed)
    assert said(tree) == said(summed(updates, range(count), Exact))


def orders_that_say(total: type[Total], bench: Any) -> int:
    """How many different answers 30 orders and 30 trees of the same 12 updates have."""
    updates, draw = [update(number, 5) for number in range(12)], np.random.default_rng(1)
    found = set()
    for _ in range(30):
        order = draw.permutation(12).tolist()
        found.add(said(summed(updates, order, total)))
        found.add(said(folded(bench, [order[:5], [order[5:8], order[8:]]], updates, total, 1)))
    return len(found)


def test_what_exact_totals_say_once_rounded_ones_say_in_as_many_ways_as_they_are_asked(bench: Any) -> None:
    """The tests above can fail: plain float64 sums of these updates have another last bit in nearly every order."""
    assert orders_that_say(Exact, bench) == 1
    assert orders_that_say(Total, bench) > 50


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1e16, 1.0, 1e-3, 0.1, 7.7, 3e15], 13000000000000008.0),
        ([1e308, 1.5e308, -1.5e308, -1e308, 0.1], 0.1),  # beyond float64 halfway, in some orders
        ([1e308, 1.5e308, -1e308, 0.1], 1.5e308),
        ([1e308, 1.5e308, 1.0], math.inf),
        ([-1e308, -1.5e308, 1.0], -math.inf),
    ],
)
def test_scalars_are_rounded_once_and_have_no_order(values: list[float], wanted: float) -> None:
    for order in itertools.permutations(values):
        sums = Sums({f"k{number}": Terms(1.0, 1.0, {"s": value}) for number, value in enumerate(order)})
        assert sums.scalars == {"s": wanted}


def test_weights_are_rounded_once_and_have_no_order() -> None:
    for order in itertools.permutations([1e16, 1.0, 1e-3, 0.1, 7.7, 3e15]):
        assert Sums({f"k{n}": Terms(weight) for n, weight in enumerate(order)}).weight == 13000000000000008.0


def test_an_update_alone_stays_as_it_came_through_any_number_of_combiners(bench: Any) -> None:
    """(w·u)/w is another number in one of eleven; -0.0 has its sign."""
    updates, run = [update(0, 9)], next(run for run in GRID.runs if run.tensors[0].name == "w")
    updates[0][0]["w"][0] = -0.0
    for tree in ([0], [[[0]]], [[0], []]):
        for seed in range(4):
            mean = folded(bench, tree, updates, Exact, seed).mean("model", run, 0, np.empty(40))
            assert mean.tobytes() == (updates[0][0]["w"] * updates[0][1].scale).tobytes()


def test_exact_sums_and_rounded_ones_are_not_added() -> None:
    updates = [update(number, 2) for number in range(2)]
    with pytest.raises(BlobError, match="exact sums cannot be added to rounded ones"):
        summed(updates, [0], Total).merge(summed(updates, [1], Exact))


@pytest.mark.parametrize("missing", ["model/3", "control/3", "/least"])
def test_parts_that_are_missing_or_unknown_are_refused_before_anything_is_added(bench: Any, missing: str) -> None:
    updates = [update(number, 2) for number in range(4)]
    whole, below = (summed(updates, numbers, Exact) for numbers in ([0, 1], [2, 3]))
    before, parts = said(whole), {part: bench.model(exported(below, part)) for part in below.parts()}
    for wrong in (
        {name: part for name, part in parts.items() if name != missing},
        {**parts, "model/7": parts["model/3"]},
        {**parts, "mask/3": parts["model/3"]},
    ):
        with pytest.raises(BlobError, match="these are not the parts of exact sums of 2 updates: "):
            whole.take(below.summary(), wrong)
    with pytest.raises(BlobError, match="these are not the parts"):
        whole.take(Sums(below.terms, raw=True, total="exact"), parts)
    assert said(whole) == before


# ---- what is held ----


def held(accumulator: Accumulator) -> Fraction:
    """The sum of one element, from its digits, without any rounding."""
    return sum((Fraction(float(digit[0])) for digit in accumulator.totals["model"].digits.values()), Fraction())


def of_values(values: Sequence[float], weights: Sequence[float]) -> Accumulator:
    accumulator = Accumulator(ONE, total=Exact)
    for number, (value, weight) in enumerate(zip(values, weights, strict=True)):
        share = accumulator.begin(f"k{number}", Terms(weight))
        accumulator.add(share, "model", ONE.runs[0], 0, np.array([value]))
    return accumulator


scaled = st.builds(
    lambda fraction, exponent, sign: sign * math.ldexp(fraction, exponent),
    st.floats(1, 2, exclude_max=True),
    st.integers(-115, 139),
    st.sampled_from([1.0, -1.0]),
)


@given(st.lists(scaled, min_size=2, max_size=40))
@SOME
def test_products_between_2_to_the_minus_115_and_2_to_the_140_lose_no_bit(values: list[float]) -> None:
    assert held(of_values(values, [1.0] * len(values))) == sum(map(Fraction, values))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=40), st.data())
@SOME
def test_float32_of_any_size_times_whole_numbers_lose_no_bit(values: list[float], data: Any) -> None:
    """From 1.4e-45 to 3.4e38, as far as a product stays below 1.4e42."""
    weights = [data.draw(st.integers(1, 2**29 if abs(value) < 1e33 else 4096)) for value in values]
    assert held(of_values(values, [float(weight) for weight in weights])) == sum(
        (weight * Fraction(value) for value, weight in zip(values, weights, strict=True)), Fraction()
    )


@given(st.lists(st.floats(-1e40, 1e40), min_size=2, max_size=20), st.data())
@SOME
def test_a_mean_is_off_by_no_more_than_the_grid_and_two_units_in_the_last_place(values: list[float], data: Any) -> None:
    """Any float64, subnormal ones too, and weights that round their products."""
    weights = data.draw(st.lists(st.floats(2**-80, 100), min_size=len(values), max_size=len(values)))
    products = [Fraction(weight * value) for value, weight in zip(values, weights, strict=True)]
    wanted = sum(products, Fraction()) / sum(map(Fraction, weights))
    mean = of_values(values, weights).mean("model", ONE.runs[0], 0, np.empty(1))[0]
    bound = Fraction(2) ** (LOWEST - 1) * len(values) / sum(map(Fraction, weights))
    assert abs(Fraction(float(mean)) - wanted) <= bound + Fraction(2) ** -51 * abs(wanted)


FULLEST = [above / 2 - unit for unit, above in itertools.pairwise(UNITS)]
"""For each digit the most that one addition can put there: half the unit of the next, less one of its own."""


@pytest.mark.parametrize("value", [*FULLEST, sum(FULLEST[:2]), sum(FULLEST[3:5]), LARGEST, -LARGEST])
def test_digits_are_carried_before_they_are_full(value: float) -> None:
    for count in (15, 16, 17, 33, 1000):
        whole = of_values([value] * count, [1.0] * count)
        assert held(whole) == count * Fraction(value)
        assert all(abs(digit[0]) < 2.0**53 * UNITS[k] for k, digit in whole.totals["model"].digits.items())


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.sampled_from(FULLEST))
@SOME
def test_full_digits_of_many_accumulators_are_added_without_loss(sizes: list[int], value: float) -> None:
    whole = Accumulator(ONE, total=Exact)
    for number, size in enumerate(sizes):
        part = Accumulator(ONE, total=Exact)
        for one in range(size):
            part.add(part.begin(f"{number}.{one}", Terms(1.0)), "model", ONE.runs[0], 0, np.array([value]))
        whole.merge(part)
    assert held(whole) == sum(sizes) * Fraction(value)
    assert all(abs(digit[0]) < 2.0**53 * UNITS[k] for k, digit in whole.totals["model"].digits.items())


@pytest.mark.parametrize("value", [1.5e42, -1.5e42, math.inf, -math.inf, math.nan])
def test_what_no_digit_holds_is_an_error_that_names_it(value: float) -> None:
    with pytest.raises(FormulaError, match=r"× an element is (1\.5e\+42|inf|nan); deterministic sums hold 1\.4e\+42"):
        of_values([1.0, value], [1.0, 1.0])


@pytest.mark.parametrize(
    ("weight", "scale", "base", "text"),
    [
        (2.0**31, 1.0, 2e32, r"may reach 1\.72e\+42; deterministic sums hold 1\.4e\+42 \(limits.max_abs, "),
        (1.0, 3e9, 2e32, r"may reach 2\.4e\+42"),
        (1e24, 1e-24, 0.0, r"may reach 1\.84e\+43"),  # integers reach 2⁶⁴
    ],
)
def test_an_update_that_sums_may_not_hold_is_refused(
    bench: Any, weight: float, scale: float, base: float, text: str
) -> None:
    with pytest.raises(Refused, match=text) as refused:
        check_products(Expected(bench.model(BASE), base), Terms(weight, scale), 3 * base)
    assert refused.value.reason == "too-large"


def test_all_that_the_default_limits_let_in_is_held(bench: Any) -> None:
    expected = Expected(bench.model(BASE), 1e24, sets=("control",))
    check_products(expected, Terms(float(expected.max_examples)), expected.largest)
    check_products(expected, Terms(0.0), 1.0)


@pytest.mark.parametrize("terms", [Terms(1e-25), Terms(1e-13, 1e-13), Terms(1.0, -1e-30)])
def test_factors_that_would_leave_no_digits_are_the_formulas_error(bench: Any, terms: Terms) -> None:
    with pytest.raises(
        FormulaError, match=r"weight × scale is -?1e-\d+; deterministic sums take 0, or 8\.3e-25 and more"
    ):
        check_products(Expected(bench.model(BASE)), terms, 1.0)


# ---- memory ----


def test_two_digits_of_each_element_hold_most_models_and_a_third_what_is_tiny() -> None:
    draw, grid = np.random.default_rng(0), Grid(layout_of({"w": np.zeros(5000, np.float32)}))
    values = [np.float32(0.05) * draw.standard_normal(5000, np.float32) for _ in range(20)]
    for factor, digits in ((1.0, 2), (1e6, 2), (1e-20, 3)):
        accumulator = Accumulator(grid, total=Exact)
        for number, block in enumerate(values):
            share = accumulator.begin(f"k{number}", Terms(float(60 * number + 1)))
            accumulator.add(share, "model", grid.runs[0], 0, np.float32(factor) * block)
        assert accumulator.nbytes == digits * 8 * 5000


def test_exact_totals_take_no_memory_that_rounded_ones_would_use_again() -> None:
    Total(LEAST)
    kept = ROOMS.nbytes
    assert not Exact(2 * LEAST).digits[Exact.home].any()
    assert (ROOMS.nbytes, Total(LEAST).digits[Total.home].nbytes) == (kept, 8 * LEAST)
