from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedk.testing.blocks import BlockCodecSuite
from fedk.testing.readme import key_table
from fedk_plugin_top_k import TopK


class TestTopK(BlockCodecSuite):
    codec = TopK
    tolerance = 1.0
    share = 0.16


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
)
def test_the_k_largest_changes_come_back_to_the_bit_and_the_rest_is_the_base(
    change: list[float], fraction: float
) -> None:
    codec, k = TopK(fraction), int(np.ceil(fraction * len(change)))
    base = {"w": np.linspace(-1, 1, len(change)).astype(np.float32)}
    model = {"w": base["w"] + np.array(change, np.float32)}
    back = codec.decode(b"".join(codec.encode(model, base=base)), base=base)["w"]
    moved, off = np.abs(model["w"] - base["w"]), np.abs(model["w"] - back)
    assert set(np.flatnonzero(off)) <= set(np.flatnonzero(back == base["w"]))
    assert np.count_nonzero(off) <= len(change) - k
    assert off.max() <= np.sort(moved)[::-1][k - 1], "what is left out is no larger than the smallest that is sent"
    assert np.sum(off.astype(float) ** 2) <= (1 - k / len(change)) * np.sum(moved.astype(float) ** 2) * (1 + 1e-6)


def test_all_equal_changes_send_k_elements_not_all() -> None:
    back = TopK(0.01).decode(TopK(0.01).dumps({"w": np.ones(1000)}))["w"]
    assert back.sum() == 10


def test_what_did_not_change_is_not_sent() -> None:
    assert len(TopK(1.0).dumps({"w": np.zeros(100_000)})) < 1000


def test_the_readme_has_the_table_of_keys() -> None:
    assert key_table(TopK) in (Path(__file__).parents[1] / "README.md").read_text("utf-8")
