"""What every aggregator must do. Subclass `AggregatorSuite`, name the class, and run it with pytest.

class TestFedAvg(AggregatorSuite):
    aggregator = FedAvg
    gives_mean = True

No suite knows the formula: override `textbook`, and add a test with one step worked by hand (`fedk.testing.aggregate`).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.grid import PLAIN
from fedk.api.aggregator import AnyAggregator, Array, MeanAggregator, Round, Update, Wrapper
from fedk.api.errors import FormulaError, Refused
from fedk.rounds.rules import Rules
from fedk.testing.aggregation import Answer, State, Workshop, built
from fedk.testing.combiner import Combiner, trees
from fedk.testing.readme import key_table, session
from fedk.testing.suite import Suite, since
from fedk.testing.textbook import Textbook, flat, told
from fedk_protocol.codec import DTYPES

Model = dict[str, NDArray[Any]]

CLIENTS = 7
CLOSE = 1e-9  # relative: float64 rounding, after a step that may divide by small numbers
ROUNDING = 1e-12  # relative: float64 rounding of sums alone
AGREES = 1e-6  # relative: float32 models keep seven digits
BFLOAT16 = DTYPES["BF16"]
FLOATS = tuple(dtype for dtype in DTYPES.values() if dtype.kind not in "iub")


@since("1.0")
class AggregatorSuite(Suite):
    """The contract of `fedk.api.aggregator` for all shapes, in numbers. Each test says what breaks without it.

    A wrapper is tested around another aggregator: override `driver`.
    """

    aggregator: ClassVar[type[AnyAggregator[Any]] | str]
    """The class, or the name that it is installed under."""
    config: ClassVar[Mapping[str, Any]] = {}
    """Its settings in these tests."""
    gives_mean: ClassVar[bool] = False
    """Whether one update alone is the next model (FedAvg), byte for byte."""
    equivariant: ClassVar[bool] = True
    """Whether base and updates, all moved by the same, give a model moved by that. False where weights decay."""
    ties_by_key: ClassVar[bool] = False
    """Whether equally good updates are the rule, and told apart by their keys: of two that have only each other."""
    resists: ClassVar[int] = 0
    """Liars among the clients of these tests who cannot move the model beyond where the honest ones are."""
    readme: ClassVar[Path | None] = None
    """The plugin's README.md, whose table of settings and first session are compared with the plugin."""

    def textbook(self) -> Textbook | None:
        """The formula once more, plainly and in float64, with these settings. None: nothing to compare with."""
        return None

    def answer(self, tensors: Model, number: int = 0, num_examples: int = 1) -> Answer:
        """Override it where the aggregator wants metrics or sets that are not just anything within their bounds."""
        driver = self.driver()
        metrics = {name: min(max(1.0, low), high) for name, (low, high) in driver.metrics.items()}
        floats = {name: value for name, value in tensors.items() if value.dtype.kind not in "iub"}
        sets = {name: {n: np.full_like(v, 0.01 * (number + 1)) for n, v in floats.items()} for name in driver.sets}
        return Answer(tensors, num_examples, metrics, sets=sets)

    # ---- declared ----

    def test_the_contract_is_kept(self) -> None:
        self.driver()

    def test_every_setting_says_what_it_means(self) -> None:
        fields = type(self.driver()).config_type().model_fields
        silent = [name for name, field in fields.items() if not field.description]
        assert not silent, f"settings without a description: {', '.join(silent)}"

    def test_fewer_updates_than_the_minimum_are_refused_by_number(self) -> None:
        fewest = self.driver().minimum()
        base = model(0)
        with pytest.raises(FormulaError, match=f"needs at least {fewest} updates, got {fewest - 1}"):
            self.round(base, [self.answer(moved(base, n), n) for n in range(fewest - 1)])

    def test_the_readme_has_the_table_of_settings(self) -> None:
        config = type(self.driver()).config_type()
        if self.readme is None or not config.model_fields:
            pytest.skip("declares no `readme`, or has no settings")
        assert key_table(config) in self.readme.read_text("utf-8")

    def test_the_readmes_session_is_one(self) -> None:
        """Rules that can be started as they stand, with settings that the aggregator takes."""
        if self.readme is None:
            pytest.skip("declares no `readme`")
        rules = Rules.model_validate(tomllib.loads(session(self.readme)))
        name = rules.aggregator.wrap[0] if isinstance(self.driver(), Wrapper) else rules.aggregator.use
        own = rules.aggregator.tables.get(name, {})
        type(self.driver()).config_type().model_validate(own)

    # ---- the formula ----

    def test_it_agrees_with_the_textbook_round_after_round(self) -> None:
        for dtype in (np.float32, np.float64):
            book, now, state = self.textbook(), model(0, np.dtype(dtype)), None
            if book is None:
                pytest.skip("has no `textbook`")
            for number in range(1, 7):
                answers = self.answers(now, first=number)[: max(self.driver().minimum(), CLIENTS - number % 3)]
                wanted = book(flat(now), [told(now, answer) for answer in answers])
                now, state = self.round(now, answers, state)
                off = np.abs(flat(now) - wanted) - AGREES * np.abs(wanted)
                assert off.max() <= AGREES**2, f"round {number} differs from the textbook's ({np.dtype(dtype)})"

    def test_one_update_alone_comes_back_byte_for_byte(self) -> None:
        if not self.gives_mean:
            pytest.skip("declares no `gives_mean`")
        for dtype in FLOATS:
            base = model(0, dtype)
            update = moved(base, 1)
            state = None
            for _ in range(3):
                after, state = self.round(base, self.enough([self.answer(update, num_examples=37)]), state)
                assert_same_bytes(after, update)
                base, update = after, moved(after, 2)

    def test_the_order_of_the_updates_does_not_matter(self) -> None:
        answers = self.answers(model(0))
        after, _ = self.round(model(0), answers)
        for seed in range(5):
            turned, _ = self.turned(model(0), answers, seed)
            assert_close(turned, after, "the same updates in another order gave another model")

    def test_only_the_ratio_of_the_weights_matters(self) -> None:
        base = model(0)
        once, _ = self.round(base, self.answers(base))
        thrice, _ = self.round(base, self.answers(base, times=3))
        assert_close(thrice, once, "three times the examples everywhere gave another model")

    # derandomized: who runs the suite twice wants the same answer; executors: each subclass is one
    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data())
    def test_any_tree_of_combiners_gives_the_flat_model_to_float64_rounding(self, data: st.DataObject) -> None:
        self.mean_shaped()
        answers = self.answers(model(0))
        at_once, _ = self.round(model(0), answers)
        tree, _ = self.round(model(0), answers, tree=data.draw(trees(len(answers))))
        assert_close(tree, at_once, "sums of sums gave another model than all updates at once", ROUNDING)

    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data())
    def test_any_tree_gives_a_deterministic_session_the_flat_model_to_the_bit(self, data: st.DataObject) -> None:
        self.mean_shaped()
        answers = self.answers(model(0))
        (flat, state), (tree, after) = (
            self.round(model(0), answers, tree=tree, deterministic=True)
            for tree in (None, data.draw(trees(len(answers))))
        )
        for name, value in flat.items():
            assert tree[name].tobytes() == value.tobytes(), f"{name} shows in what order its updates were added up"
        assert after == state, "the state shows in what order the updates were added up"

    def test_blocks_of_any_size_give_the_same_model(self) -> None:
        answers = self.answers(model(0))
        whole, _ = self.round(model(0), answers)
        for block in (1, 7, 64):
            parts, _ = self.round(model(0), answers, block=block)
            assert_close(parts, whole, f"blocks of {block} elements gave another model: the formula is not elementwise")

    def test_updates_of_a_ten_thousandth_keep_their_digits(self) -> None:
        """Differences of numbers that were rounded to float32 have three digits left."""
        if not self.equivariant:
            pytest.skip("declares itself not `equivariant`")
        base = model(0)
        updates = [moved(base, n, by=1e-4) for n in range(self.clients())]
        deltas = [{name: update[name] - base[name] for name in base} for update in updates]
        there, _ = self.round(base, [self.answer(u, n) for n, u in enumerate(updates)])
        here, _ = self.round(
            {n: np.zeros_like(v) for n, v in base.items()}, [self.answer(d, n) for n, d in enumerate(deltas)]
        )
        for name, delta in here.items():
            off = np.abs(there[name] - base[name] - delta).max() / np.abs(delta).max()
            assert off < 1e-6, f"the step of {name} is off by {off:.0e} of itself: something is rounded to float32"

    def test_step_leaves_its_blocks_alone(self) -> None:
        driver = self.mean_shaped()
        x, mean = np.linspace(-1, 1, 5), np.linspace(-1, 1.5, 5)
        state = {name: np.full(5, fill) for name, fill in driver.initial().items()}
        before = [array.copy() for array in (x, mean, *state.values())]
        driver.step(x, mean, state, self.view(5))
        for array, was in zip((x, mean, *state.values()), before, strict=True):
            assert np.array_equal(array, was), "`step` wrote into a block that it was given; it may only read"

    def test_a_step_done_again_gives_the_same(self) -> None:
        if self.driver().random:
            pytest.skip("declares itself `random`")
        base, driver = model(0), self.driver()
        with Workshop(driver, base, noise=zeros) as workshop:
            first, again = (workshop.round(self.answers(base)) for _ in range(2))
        assert_same_bytes(first[0], again[0], "the same round, done again, gave another model: state outside `state`")
        assert first[1] == again[1], "the same round, done again, gave another state: state outside `state`"

    def test_the_state_goes_on_where_it_was(self) -> None:
        base, state = model(0), None
        for number in range(1, 4):
            base, state = self.round(base, self.answers(base), state)
            assert state.number == number, "the state counts commits"
        assert state is not None
        assert set(state.scalars) >= set(self.driver().initial_scalars()), "`finish` dropped scalars of the state"

    def test_equal_updates_are_one_choice_whoever_sends_them(self) -> None:
        """Ties are the rule where clients are few or copied: the model must not depend on who is compared first."""
        answers = self.answers(model(0))
        pairs = [answers[n // 2] for n in range(2 * len(answers))]
        wanted, _ = self.round(model(0), pairs)
        for seed in range(5):
            turned, _ = self.turned(model(0), pairs, seed)
            assert_close(turned, wanted, "two equal updates each, in another order, gave another model")

    def test_liars_move_it_no_further_than_the_honest(self) -> None:
        """Together, in one direction, far and near; the honest differ by what one of them moves."""
        if not self.resists:
            pytest.skip("declares that it `resists` no liars")
        base = model(0)
        answers = self.answers(base)
        honest = [flat(answer.tensors) for answer in answers[self.resists :]]
        center = np.mean(honest, axis=0)
        radius = max(float(np.linalg.norm(one - center)) for one in honest)
        for lie in (1e3, -1e3, -10.0, -1.0, 0.0):
            liars = [{name: value + lie for name, value in base.items()} for _ in range(self.resists)]
            after, _ = self.round(base, [*map(self.answer, liars), *answers[self.resists :]])
            moved_by = float(np.linalg.norm(flat(after) - center)) / radius
            assert moved_by <= 2, f"{self.resists} of {len(answers)} moved the model by {moved_by:.3g} radii"

    def test_what_is_not_finite_is_refused_at_intake(self) -> None:
        if not self.driver().inspect:
            pytest.skip("declares that intake must not `inspect`")
        for bad in (np.nan, np.inf, -np.inf):
            update = moved(model(0), 1)
            update["w"].flat[3] = bad
            with pytest.raises(Refused, match="non-finite: w has 1 "):
                self.round(model(0), self.enough([self.answer(update)]))

    def test_one_finite_1e30_is_refused_at_intake(self) -> None:
        if not self.driver().inspect:
            pytest.skip("declares that intake must not `inspect`")
        update = moved(model(0), 1)
        update["w"].flat[3] = 1e30
        with pytest.raises(Refused, match="too-large: w reaches 1e\\+30"):
            self.round(model(0), self.enough([self.answer(update)]))

    # ---- dtypes ----

    def test_names_order_shapes_and_dtypes_stay(self) -> None:
        for dtype in FLOATS:
            base = {**model(0, dtype), **counters()}
            after, _ = self.round(base, [self.answer(moved(base, n), n, n + 1) for n in range(self.clients())])
            assert list(after) == list(base), "names came back in another order"
            assert [a.dtype for a in after.values()] == [a.dtype for a in base.values()], "a dtype changed"
            assert [a.shape for a in after.values()] == [a.shape for a in base.values()], "a shape changed"

    def test_bfloat16_does_not_stand_still(self) -> None:
        """Steps below half a unit in the last place add up in the float32 master."""
        steps = {}
        for dtype in (np.dtype(np.float32), BFLOAT16):
            now, state = {"w": np.full(4, 64.0, dtype)}, None
            for _ in range(15):
                there = {"w": (now["w"].astype(np.float32) + 0.5).astype(dtype)}
                now, state = self.round(now, [self.answer(there, n) for n in range(self.clients())], state)
            steps[dtype] = now["w"].astype(np.float64)
        off = np.abs(steps[BFLOAT16] - steps[np.dtype(np.float32)]).max()
        assert off <= 0.5, f"after 15 rounds bfloat16 is {off:g} away from float32; one unit in its last place is 0.5"

    def test_integers_and_booleans_that_all_agree_on_are_exact(self) -> None:
        base = {**model(0), **counters()}
        agreed = {"steps": np.array([2**62 + 1, -7, 0]), "mask": np.array([True, False])}
        updates = [{**moved(base, n), **agreed} for n in range(self.clients())]
        after, _ = self.round(base, [self.answer(update, n, n + 1) for n, update in enumerate(updates)])
        wanted = base if self.driver().freezes else agreed
        for name in agreed:
            assert np.array_equal(after[name], wanted[name]), f"all clients agree on {name}, and it came back changed"

    def test_plain_tensors_are_averaged_and_not_stepped(self) -> None:
        """A server's step on a running variance of 0.04 makes it wander, below zero too."""
        base = {**model(0), "bn.running_var": np.full(3, 0.04, np.float32)}
        state = None
        for _ in range(5):
            updates = [{**moved(base, n), "bn.running_var": base["bn.running_var"]} for n in range(self.clients())]
            base, state = self.round(base, [self.answer(update, n) for n, update in enumerate(updates)], state)
        assert np.allclose(base["bn.running_var"], 0.04, rtol=1e-6), f"one of {', '.join(PLAIN)} was stepped"

    def test_tensors_of_no_and_of_one_element(self) -> None:
        base: Model = {"none": np.zeros((0, 3)), "scalar": np.array(1.0), "one": np.ones(1), "w": np.ones((2, 2))}
        after, _ = self.round(base, [self.answer(moved(base, n), n) for n in range(self.clients())])
        assert {name: a.shape for name, a in after.items()} == {name: a.shape for name, a in base.items()}
        assert after["scalar"] == pytest.approx(after["one"][0], abs=10), "a scalar is a tensor as others are"

    # ---- what the tests are made of ----

    def driver(self) -> AnyAggregator[Any]:
        return built(self.aggregator, self.config)

    def mean_shaped(self) -> MeanAggregator[Any]:
        driver = self.driver()
        if not isinstance(driver, MeanAggregator):
            pytest.skip("is no MeanAggregator: it has no step, and combiners add nothing up for it")
        return driver

    def clients(self) -> int:
        return max(CLIENTS, self.driver().minimum())

    def view(self, count: int) -> Round:
        """A round's numbers as `step` meets them, with the sums of `count` equal answers."""
        driver = self.mean_shaped()
        metrics = {name: min(max(1.0, low), high) for name, (low, high) in driver.metrics.items()}
        scalars = dict(driver.initial_scalars())
        r, u = Round(1, count, count, scalars, folds=1), Update("k", "c", 1, metrics, norm=1.0, max_abs=1.0)
        sums = {name: value * count for name, value in driver.sums(u, r).items()}
        sets = {name: np.full(5, 0.01) for name in driver.sets}
        weight = driver.weight(u, r) * count
        return replace(r, count=count, weight=weight, sums=sums, sets=sets, normal=zeros)

    def answers(self, base: Model, *, times: int = 1, first: int = 0) -> list[Answer]:
        """One of each client; `first` draws others."""
        return [self.answer(moved(base, first * CLIENTS + n), n, times * (10 + 3 * n)) for n in range(self.clients())]

    def enough(self, answers: list[Answer]) -> list[Answer]:
        """Those answers, the first repeated up to the minimum."""
        return answers + [answers[0]] * (self.driver().minimum() - len(answers))

    def round(
        self, base: Model, answers: Sequence[Answer], state: State | None = None, **how: Any
    ) -> tuple[Model, State]:
        with Workshop(self.driver(), base, state, noise=zeros) as workshop:
            return workshop.round(answers, **how)

    def turned(self, base: Model, answers: Sequence[Answer], seed: int) -> tuple[Model, State]:
        """A round in another order: other keys too, unless ties are decided by them."""
        order = Random(seed).sample(range(len(answers)), len(answers))  # noqa: S311 — a test's draw
        if self.ties_by_key:
            return self.round(base, answers, tree=Combiner(tuple(order)))
        return self.round(base, [answers[n] for n in order])


def model(seed: int, dtype: "np.dtype[Any] | type[np.float64]" = np.float64) -> Model:
    """Small, of several shapes, in no order that sorting would give."""
    draw = np.random.default_rng(seed).standard_normal
    shapes = {"w": (8, 5), "bias": (5,), "a": (3, 2, 4)}
    return {name: draw(shape).astype(dtype) for name, shape in shapes.items()}


def counters() -> Model:
    return {"steps": np.array([5, -7, 0]), "mask": np.array([True, True]), "byte": np.array([250, 3], np.uint8)}


def moved(base: Model, number: int, *, by: float = 0.1) -> Model:
    """An update: floats moved by some `by`, the rest as it was."""
    draw = np.random.default_rng([7, number]).standard_normal
    return {
        name: value.copy() if value.dtype.kind in "iub" else (value + by * draw(value.shape)).astype(value.dtype)
        for name, value in base.items()
    }


def zeros(n: int) -> Array:
    return np.zeros(n)


def assert_close(after: Model, wanted: Model, message: str, within: float = CLOSE) -> None:
    for name, value in wanted.items():
        assert np.allclose(after[name], value, rtol=within, atol=within), f"{message} ({name})"


def assert_same_bytes(after: Model, wanted: Model, message: str = "one update alone was changed") -> None:
    for name, value in wanted.items():
        assert after[name].tobytes() == value.tobytes(), f"{message} ({name}, {value.dtype})"
