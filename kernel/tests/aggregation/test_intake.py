import hashlib
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.expected import Expected, expect
from fedk.aggregation.intake import Intake
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State
from fedk.api.errors import Refused
from fedk_protocol.codec import DTYPES, Safetensors, layout_of

BASE: dict[str, NDArray[Any]] = {
    "coefs_.0": np.arange(4096, dtype=np.float32).reshape(64, 64) / 4096,
    "coefs_.1": np.ones((64, 10), np.float32),
    "steps": np.array(3),
    "mask": np.array([True, False]),
}


class Mean(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Controlled(Mean):
    sets = ("control", "anchor")


class Masked(Mean):
    inspect = False


def dumps(arrays: Any) -> bytes:
    return Safetensors().dumps(arrays)


def changed(name: str, place: Any, value: Any) -> bytes:
    array = BASE[name].copy()
    array[place] = value
    return dumps({**BASE, name: array})


@pytest.fixture
def expected(bench: Any) -> Expected:
    return expect(Mean(), bench.model(BASE))


# ---- what is found ----


def test_the_model_itself_is_taken_with_its_hash_and_no_distance(bench: Any, expected: Expected) -> None:
    data = dumps(BASE)
    facts = bench.fed(expected, model=data)
    assert (facts.norm, facts.max_abs) == (0.0, 1.0)
    assert facts.sha256 == hashlib.sha256(data).digest() == facts.blobs["model"].sha256
    assert (facts.blobs["model"].offset, facts.blobs["model"].size) == (0, len(data))


@given(chunk=st.integers(1, 300), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_of_any_size_give_the_norm_and_range(bench: Any, chunk: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(0, 40, len(DTYPES)).tolist()
    base = {name: draw.random(n).astype(dtype) for (name, dtype), n in zip(DTYPES.items(), sizes, strict=True)}
    update = {
        name: (1 - 3 * value.astype(np.float64)).clip(-2, 1).astype(value.dtype) if "F" in name else value
        for name, value in base.items()
    }
    facts = bench.fed(expect(Mean(), bench.model(base)), chunk, model=dumps(update))
    floats = [name for name, dtype in DTYPES.items() if dtype.kind not in "iub"]
    deltas = [update[name].astype(np.float64) - base[name].astype(np.float64) for name in floats]
    assert facts.norm == pytest.approx(np.sqrt(sum(float(d @ d) for d in deltas)), rel=2**-24)
    assert facts.max_abs == max(
        (np.abs(update[n].astype(np.float64)).max() for n in floats if update[n].size), default=0
    )


@pytest.mark.parametrize(
    ("base", "update", "wanted"),
    [
        (1 + 2.0**-23, 1.0, 2.0**-23),  # neighbours: exact
        (0.0, 2.0**-100, 2.0**-100),  # whose square is no float32
        (0.0, 2.0**100, 2.0**100),
        (-(2.0**-30), 1 + 2.0**-23, 1 + 2.0**-23),  # rounded to the model's own dtype
    ],
)
def test_differences_are_of_the_models_dtype_and_their_squares_of_float64(
    bench: Any, base: float, update: float, wanted: float
) -> None:
    before, after = (np.full(1, value, np.float32) for value in (base, update))
    expected = expect(Mean(), bench.model({"w": before}), max_abs=1e38)
    assert bench.fed(expected, model=dumps({"w": after})).norm == wanted


def test_a_difference_that_float32_cannot_hold_is_refused(bench: Any) -> None:
    base, update = np.full(1, -3e38, np.float32), np.full(1, 3e38, np.float32)
    with pytest.raises(Refused, match=r"too-large: the update's norm is inf"):
        bench.fed(expect(Mean(), bench.model({"w": base}), max_abs=3.3e38), model=dumps({"w": update}))


def test_a_framework_that_orders_its_tensors_otherwise_is_taken(bench: Any, expected: Expected) -> None:
    facts = bench.fed(expected, model=reordered(dict(reversed(BASE.items()))))
    assert facts.norm == 0.0


def reordered(arrays: Any) -> bytes:
    """Data in the order given, which is not the canonical one."""
    sizes = np.cumsum([0, *(a.nbytes for a in arrays.values())]).tolist()
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    entries = {
        name: {"dtype": names[a.dtype], "shape": a.shape, "data_offsets": (sizes[i], sizes[i + 1])}
        for i, (name, a) in enumerate(arrays.items())
    }
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in arrays.values())


def test_a_result_of_several_blobs_is_hashed_as_a_whole_and_each(bench: Any) -> None:
    expected = expect(Controlled(), bench.model(BASE))
    floats = {name: BASE[name] for name in ("coefs_.0", "coefs_.1")}
    blobs = {"model": dumps(BASE), "control": dumps(floats), "anchor": dumps(BASE)}
    facts = bench.fed(expected, 100, **blobs)
    in_order = [blobs[name] for name in ("anchor", "control", "model")]
    assert facts.sha256 == hashlib.sha256(b"".join(in_order)).digest()
    assert [facts.blobs[name].offset for name in ("anchor", "control", "model")] == [
        0, len(in_order[0]), len(in_order[0]) + len(in_order[1]),
    ]  # fmt: skip
    assert all(facts.blobs[name].sha256 == hashlib.sha256(data).digest() for name, data in blobs.items())


def test_an_initial_model_may_have_any_tensors(bench: Any) -> None:
    facts = bench.fed(Expected(None), model=dumps({"any": np.full((2, 2), -7, np.float16)}))
    assert (facts.norm, facts.max_abs) == (0.0, 7.0)
    with pytest.raises(Refused, match="non-finite: any has 1 NaN of 2"):
        bench.fed(Expected(None), model=dumps({"any": np.array([np.nan, 1])}))


def test_intake_does_not_look_into_updates_that_an_aggregator_masks(bench: Any) -> None:
    facts = bench.fed(expect(Masked(), bench.model(BASE)), model=changed("coefs_.1", 0, np.inf))
    assert (facts.norm, facts.max_abs) == (0.0, 0.0)


def test_nothing_of_the_data_is_held(bench: Any) -> None:
    base = {"w": np.zeros(4_000_000, np.float32)}
    expected, data = expect(Mean(), bench.model(base)), memoryview(dumps(base))
    bench.fed(expected, model=dumps(base))  # this thread has its buffers now
    tracemalloc.start()
    try:
        intake = Intake(expected, {"model": len(data)})
        for at in range(0, len(data), 1 << 18):
            intake.feed(data[at : at + (1 << 18)])
        intake.finish()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_results_are_taken_side_by_side(bench: Any) -> None:
    """Worker threads share what a round expects, and no buffer."""
    base = {"a": np.zeros(100_000, np.float32), "b": np.zeros(50_000)}
    expected = expect(Mean(), bench.model(base))
    updates = [dumps({"a": np.full(100_000, n, np.float32), "b": np.full(50_000, float(n))}) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        facts = list(pool.map(lambda data: bench.fed(expected, 10_000, model=data), updates))
    assert [fact.max_abs for fact in facts] == list(range(8))
    assert [fact.norm for fact in facts] == pytest.approx([n * 150_000**0.5 for n in range(8)])


# ---- what is refused ----


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (changed("coefs_.0", (slice(12), 7), np.nan), "non-finite: coefs_.0 has 12 NaN of 4,096"),
        (changed("coefs_.1", 0, -np.inf), "non-finite: coefs_.1 has 10 infinite of 640"),
        (changed("coefs_.1", [0, 5], [[np.nan], [np.inf]]), "non-finite: coefs_.1 has 10 NaN and 10 infinite of 640"),
        (changed("coefs_.1", (63, 9), -1e30), "too-large: coefs_.1 reaches -1e+30, the largest is 1e+06 (limits.max_abs)"),
        (
            dumps({("coef_.1" if name == "coefs_.1" else name): value for name, value in BASE.items()}),
            "bad-names: missing coefs_.1, unexpected coef_.1",
        ),
        (
            dumps({**BASE, **{f"extra {n}": np.zeros(1) for n in range(5)}}),
            "bad-names: unexpected 'extra 0', 'extra 1', 'extra 2' and 2 more",
        ),
        (
            dumps({**BASE, "coefs_.0": np.zeros((64, 10), np.float32)}),
            "bad-shape: coefs_.0 is [64, 10], the model's is [64, 64]",
        ),
        (
            dumps({**BASE, "coefs_.0": BASE["coefs_.0"].astype(np.float64)}),
            "bad-dtype: coefs_.0 is float64, the model's is float32",
        ),
        (dumps(BASE)[:-2] + b"\x07\x00", "bad-format: mask is BOOL and holds bytes other than 0 and 1"),
        (b"not a model at all", "bad-format: "),
        (b"", "bad-format: "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1 << 20, 1000, 17])
def test_a_refusal_says_what_a_person_can_act_on(
    bench: Any, expected: Expected, data: bytes, refusal: str, chunk: int
) -> None:
    with pytest.raises(Refused) as refused:
        bench.fed(expected, chunk, model=data)
    assert str(refused.value).startswith(refusal)


def test_nan_is_counted_over_the_blocks_of_one_large_tensor_and_no_further(bench: Any) -> None:
    base = {"a": np.zeros(300_000, np.float32), "b": np.zeros(10, np.float32)}
    update = {"a": base["a"].copy(), "b": np.full(10, np.nan, np.float32)}
    update["a"][::3] = np.nan
    with pytest.raises(Refused, match="non-finite: a has 100,000 NaN of 300,000"):
        bench.fed(expect(Mean(), bench.model(base)), model=dumps(update))


def test_nan_is_refused_before_the_rest_has_come(bench: Any) -> None:
    base = {"a": np.zeros(10, np.float32), "b": np.zeros(100_000, np.float32)}
    data = dumps({**base, "a": np.full(10, np.nan, np.float32)})
    intake = Intake(expect(Mean(), bench.model(base)), {"model": len(data)})
    with pytest.raises(Refused, match="a has 10 NaN of 10"):
        intake.feed(data[:1000])


def test_a_set_is_named_where_it_is_wrong(bench: Any) -> None:
    expected = expect(Controlled(), bench.model(BASE))
    bad = {**BASE, "coefs_.1": np.full((64, 10), np.nan, np.float32)}
    with pytest.raises(Refused, match=r"non-finite: set control: coefs_\.1 has 640 NaN of 640"):
        bench.fed(expected, model=dumps(BASE), anchor=dumps(BASE), control=dumps(bad))
    with pytest.raises(Refused, match=r"bad-names: set anchor: missing coefs_\.0, coefs_\.1$"):
        bench.fed(expected, model=dumps(BASE), anchor=dumps({"steps": BASE["steps"]}), control=dumps(BASE))


def test_blobs_that_are_missing_or_too_many_are_named(bench: Any, expected: Expected) -> None:
    with pytest.raises(Refused, match="bad-names: blobs: missing anchor, control, unexpected extra"):
        Intake(expect(Controlled(), bench.model(BASE)), {"model": 1, "extra": 1})
    with pytest.raises(Refused, match="bad-names: blobs: missing model"):
        Intake(expected, {})


def test_bytes_that_end_early_are_refused(expected: Expected) -> None:
    data = dumps(BASE)
    intake = Intake(expected, {"model": len(data)})
    intake.feed(data[:-1])
    with pytest.raises(Refused, match=f"bad-hash: {len(data) - 1:,} bytes came of the {len(data):,} announced"):
        intake.finish()


def test_bytes_beyond_those_announced_are_refused(expected: Expected) -> None:
    data = dumps(BASE)
    intake = Intake(expected, {"model": len(data)})
    intake.feed(data)
    with pytest.raises(Refused, match=f"too-large: more bytes came than the {len(data):,} announced"):
        intake.feed(b"x")


def test_a_header_far_longer_than_the_models_is_not_read(expected: Expected) -> None:
    data = dumps({"w" * 2_000_000: np.zeros(1)})
    intake = Intake(expected, {"model": len(data)})
    with pytest.raises(Refused, match="too-large: the header claims"):
        intake.feed(data[:8])


def test_the_limits_of_a_session_are_those_that_are_checked(bench: Any) -> None:
    base = bench.model(BASE)
    with pytest.raises(Refused, match=r"coefs_.1 reaches 3, the largest is 2 \(limits.max_abs\)"):
        bench.fed(expect(Mean(), base, max_abs=2.0), model=changed("coefs_.1", (0, 0), 3.0))
    update = changed("coefs_.1", (0, slice(2)), [4.0, 5.0])
    with pytest.raises(Refused, match=r"the update's norm is 5, the largest is 4.9 \(limits.max_norm\)"):
        bench.fed(expect(Mean(), base, max_norm=4.9), model=update)
    assert bench.fed(expect(Mean(), base, max_norm=5.0), model=update).norm == 5.0


def test_the_default_limit_is_a_million_times_the_bases_largest(bench: Any) -> None:
    expected = expect(Mean(), bench.model({"w": np.array([-3.0, 1.0])}))
    assert bench.fed(expected, model=dumps({"w": np.array([3e6, 0.0])})).max_abs == 3e6
    with pytest.raises(Refused, match=r"reaches 3\.1e\+06, the largest is 3e\+06"):
        bench.fed(expected, model=dumps({"w": np.array([3.1e6, 0.0])}))


def test_a_norm_that_float64_cannot_hold_is_refused(bench: Any) -> None:
    base = bench.model({"w": np.array([1e303, -1e308])})
    with pytest.raises(Refused, match=r"too-large: the update's norm is inf"):
        bench.fed(expect(Mean(), base), model=dumps({"w": np.array([1e303, 1e308])}))


def test_one_answer_serves_all_results_with_the_same_header(expected: Expected) -> None:
    """Runs are lined up once a round, not once a client."""
    assert expected.grid is not None
    layout = layout_of(BASE)
    assert expected.grid.line_up(layout) is expected.grid.line_up(layout_of(BASE))
