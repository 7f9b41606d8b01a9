from pathlib import Path

import numpy as np
import pytest

from fedk.testing.blocks import BlockCodecSuite
from fedk.testing.readme import key_table
from fedk_plugin_zstd import Zstd
from fedk_protocol.codec import BadBlob


class TestZstd(BlockCodecSuite):
    codec = Zstd
    share = 1.0


def test_a_step_of_a_thousandth_takes_55_percent_of_the_bytes() -> None:
    random = np.random.default_rng(0)
    base = {"w": random.normal(size=200_000).astype(np.float32)}
    model = {"w": base["w"] * (1 + random.normal(size=200_000).astype(np.float32) / 1000)}
    size = len(b"".join(Zstd().encode(model, base=base)))
    assert size < 0.56 * model["w"].nbytes
    assert len(Zstd().dumps(model)) > 0.8 * model["w"].nbytes, "it is the base that makes the difference"


def test_ten_thousand_zeros_take_less_than_a_kilobyte() -> None:
    assert len(Zstd().dumps({"w": np.zeros(10_000)})) < 1000


def test_a_frame_of_100_bytes_that_unpacks_to_more_than_its_block_is_refused() -> None:
    codec, million = Zstd(), np.zeros(2**16)
    (bomb,) = codec.pack(million, million, np.random.default_rng(0))
    assert len(bomb) < 100
    with pytest.raises(BadBlob, match="one block of 4,000 bytes"):
        codec.unpack(memoryview(bomb), np.zeros(1000, np.float32))


def test_the_readme_has_the_table_of_keys() -> None:
    assert key_table(Zstd) in (Path(__file__).parents[1] / "README.md").read_text("utf-8")
