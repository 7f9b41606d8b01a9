import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedk.testing.blocks import BlockCodecSuite
from fedk_plugin_float16 import Float16


class TestFloat16(BlockCodecSuite):
    codec = Float16
    tolerance = 2**-11
    share = 0.51


@given(st.lists(st.floats(-65504, 65504), min_size=1, max_size=50))
def test_a_value_is_off_by_at_most_a_2048th_of_itself_or_3e_8(values: list[float]) -> None:
    model = {"w": np.array(values)}
    off = np.abs(Float16().decode(Float16().dumps(model))["w"] - model["w"])
    assert np.all(off <= np.maximum(np.abs(model["w"]) * 2**-11, 2**-25))


def test_one_value_of_70000_sends_its_tensor_as_it_is() -> None:
    model = {"w": np.array([0.1, 70_000.0], np.float32), "v": np.array([0.1], np.float32)}
    back = Float16().decode(Float16().dumps(model))
    assert np.array_equal(back["w"], model["w"])
    assert back["v"][0] == np.float32(np.float16(0.1)) != model["v"][0]
