import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedk.testing.blocks import BlockCodecSuite
from fedk_plugin_bfloat16 import Bfloat16


class TestBfloat16(BlockCodecSuite):
    codec = Bfloat16
    tolerance = 2**-8
    share = 0.51


@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False), min_size=1, max_size=50))
def test_a_value_is_off_by_at_most_a_256th_of_itself(values: list[float]) -> None:
    model = {"w": np.array(values, np.float32)}
    off = np.abs(Bfloat16().decode(Bfloat16().dumps(model))["w"].astype(float) - model["w"])
    assert np.all(off <= np.abs(model["w"].astype(float)) * 2**-8)


def test_what_float16_has_no_range_for_comes_back() -> None:
    back = Bfloat16().decode(Bfloat16().dumps({"w": np.array([1e30, 1e-30], np.float32)}))["w"]
    assert np.allclose(back, [1e30, 1e-30], rtol=2**-8, atol=0)


def test_a_float64_beyond_its_range_sends_its_tensor_as_it_is() -> None:
    model = {"w": np.array([0.1, 1e300])}
    assert np.array_equal(Bfloat16().decode(Bfloat16().dumps(model))["w"], model["w"])
