"""The suite is proved on codecs that are wrong on purpose: each must fail the right test."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.testing.blocks import BlockCodecSuite
from fedk_protocol.codec import BlockCodec, elements, in_blocks


class Plain(BlockCodec):
    """Right: every element as it is."""

    name = "plain"

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block in in_blocks(values):
            yield block.tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return elements(frame, base.dtype, base.size)


class Coarse(Plain):
    """Off by a hundredth, and says by nothing."""

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return (super().unpack(frame, base) * 1.01).astype(base.dtype)


class Drifts(Plain):
    """Its own randomness, not the generator that it is given."""

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        noise = np.random.default_rng().normal(size=values.size)
        return super().pack((values + noise).astype(values.dtype), base, random)


class WritesIntoTheBase(Plain):
    based = True

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        base[:] = super().unpack(frame, base)
        return base


class HidesInfinity(Plain):
    def packs(self, tensor: NDArray[Any]) -> bool:
        return True

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        return super().pack(np.nan_to_num(values), base, random)


class ReadsPast(Plain):
    """Takes what it needs of a frame and does not look at the rest."""

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return super().unpack(frame[: base.nbytes], base)


class Forgets(Plain):
    """The first tenth of the elements, always, and says that the rest is made up for."""

    based = feedback = True

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        block = base.copy()
        block[: base.size // 10] = super().unpack(frame, base)[: base.size // 10]
        return block


Test = Callable[[BlockCodecSuite], None]
Suite = BlockCodecSuite


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (Coarse, Suite.test_an_update_is_off_by_no_more_than_the_codec_promises, "`tolerance` allows"),
        (Drifts, Suite.test_the_same_update_of_the_same_task_has_the_same_bytes, "only the generator"),
        (WritesIntoTheBase, Suite.test_the_model_trained_on_is_left_as_it_was, "wrote into the base"),
        (ReadsPast, Suite.test_a_frame_with_a_byte_too_many_is_a_bad_blob, "a byte too many"),
        (Forgets, Suite.test_what_is_left_out_is_made_up_for, "after 100"),
    ],
)
def test_a_wrong_codec_fails_the_right_test_with_a_readable_message(
    wrong: type[BlockCodec], test: Test, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        test(_suite(wrong))


def test_infinity_that_is_hidden_is_found() -> None:
    with pytest.raises(AssertionError, match="the error must be seen"):
        _suite(HidesInfinity).test_what_is_not_finite_comes_back_so_that_the_server_can_refuse_it(np.inf)


def test_a_codec_that_is_larger_than_it_says_fails() -> None:
    suite = _suite(Plain)
    suite.share = 0.5  # type: ignore[misc]  # of this one
    with pytest.raises(AssertionError, match="`share` is"):
        suite.test_an_update_takes_no_more_bytes_than_the_codec_says()


class TestPlain(BlockCodecSuite):
    codec = Plain
    share = 1.01


def _suite(wrong: type[BlockCodec]) -> BlockCodecSuite:
    kind = type(wrong.__name__, (BlockCodecSuite,), {"codec": wrong})
    found: BlockCodecSuite = kind()
    return found
