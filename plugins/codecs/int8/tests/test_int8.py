import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedk.testing.blocks import BlockCodecSuite
from fedk_plugin_int8 import Int8


class TestInt8(BlockCodecSuite):
    codec = Int8
    tolerance = 1.001 / 127
    share = 0.26


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.integers(0, 2**63))
def test_a_value_is_off_by_less_than_a_127th_of_the_largest_change(change: list[float], seed: int) -> None:
    base = {"w": np.linspace(-5, 5, len(change))}
    model = {"w": base["w"] + np.array(change)}
    back = Int8().decode(b"".join(Int8().encode(model, base=base, seed=seed)), base=base)
    largest = np.abs(model["w"] - base["w"]).max()
    assert np.abs(back["w"] - model["w"]).max() <= largest / 127 + 1e-14


def test_the_mean_of_10000_roundings_of_a_third_of_a_step_is_a_third() -> None:
    base, third = {"w": np.zeros(10_001)}, 1 / 3 / 127
    model = {"w": np.append(np.full(10_000, third), 1.0)}
    back = Int8().decode(b"".join(Int8().encode(model, base=base, seed=1)), base=base)["w"]
    assert sorted(set(np.round(back * 127))) == [0, 1, 127]
    assert abs(back[:-1].mean() - third) < 5 * (1 / 127) * np.sqrt(2 / 9) / 100, "five standard deviations"


def test_the_tasks_seed_says_the_rounding() -> None:
    model = {"w": np.random.default_rng(0).normal(size=1000)}
    first, again, other = (b"".join(Int8().encode(model, seed=seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_a_model_that_did_not_change_comes_back_to_the_bit() -> None:
    base = {"w": np.random.default_rng(0).normal(size=1000).astype(np.float32)}
    back = Int8().decode(b"".join(Int8().encode(base, base=base)), base=base)
    assert back["w"].tobytes() == base["w"].tobytes()
