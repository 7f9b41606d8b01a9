"""What every codec of updates must do beside what all codecs must. Subclass `BlockCodecSuite`, name the class.

class TestFloat16(BlockCodecSuite):
    codec = Float16
    tolerance = 2**-11
    share = 0.51
"""

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.testing.codec import Arrays, CodecSuite
from fedk.testing.suite import since
from fedk_protocol.codec import BLOCK, DTYPES, BadBlob, BlockCodec, Buffer, Safetensors

FLOATS = ("F64", "F32", "F16", "BF16")
SIZES = (0, 1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3)

# derandomized: who runs the suite twice wants the same answer; executors: each subclass is one
DRAWN = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.differing_executors],
)


@since("1.0")
class BlockCodecSuite(CodecSuite):
    """The contract of `fedk_protocol.codec.BlockCodec`.

    `tolerance` is relative to the largest change of a tensor where the codec is `based`, else to its largest value.
    """

    codec: ClassVar[type[BlockCodec]]
    share: ClassVar[float] = 1.0
    """The most bytes of an update of 200,000 float32, of those that it has natively."""

    @DRAWN
    @given(
        dtype=st.sampled_from(FLOATS), size=st.sampled_from(SIZES), near=st.booleans(), seed=st.integers(0, 2**64 - 1)
    )
    def test_an_update_is_off_by_no_more_than_the_codec_promises(
        self, dtype: str, size: int, near: bool, seed: int
    ) -> None:
        base = {"w": drawn(dtype, size, 0)} if near else None
        model = {"w": (drawn(dtype, size, 0) + drawn(dtype, size, 1) / 64).astype(DTYPES[dtype]), "n": np.arange(3)}
        got = self._sent(model, base and {**base, "n": np.zeros(3, int)}, seed=seed)
        assert np.array_equal(got["n"], model["n"]), "integers changed"
        exact, start = model["w"].astype(np.float64), np.zeros(size)
        if base and self.codec.based:
            start = base["w"].astype(np.float64)
        rounding = np.spacing(np.abs(model["w"]).max(initial=0)).astype(np.float64) if self.tolerance else 0.0
        most = np.abs(exact - start).max(initial=0.0) * self.tolerance + rounding
        off = np.abs(got["w"].astype(np.float64) - exact).max(initial=0.0)
        assert off <= most, f"an element of {size:,} {dtype} is off by {off:g}; `tolerance` allows {most:g}"

    def test_the_same_update_of_the_same_task_has_the_same_bytes(self) -> None:
        model = {"w": drawn("F32", 1000, 1)}
        first, again = (b"".join(self.codec().encode(model, seed=7)) for _ in range(2))
        assert first == again, "equal arrays, base and seed gave other bytes: randomness is only the generator given"

    def test_a_server_unpacks_block_by_block_what_decode_gives(self) -> None:
        base = {"w": drawn("F32", 2 * BLOCK + 3, 0), "b": drawn("F64", 7, 1)}
        model = {name: array * array.dtype.type(1.01) for name, array in base.items()}
        data = b"".join(self.codec().encode(model, base=base))

        def block(name: str, start: int, count: int) -> NDArray[Any]:
            return base[name][start : start + count]

        native = b"".join(bytes(piece) for piece in self.codec().open(Buffer(data)).pieces(block))
        assert native == Safetensors().dumps(self.codec().decode(data, base=base)), "open and decode differ"

    def test_the_model_trained_on_is_left_as_it_was(self) -> None:
        base = {"w": drawn("F32", 1000, 0)}
        before = base["w"].copy()
        self._sent({"w": base["w"] + np.float32(0.01)}, base)
        assert np.array_equal(base["w"], before), "unpack wrote into the base"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_comes_back_so_that_the_server_can_refuse_it(self, value: float) -> None:
        model = {"w": np.array([1.0, value], np.float32)}
        got = self._sent(model, {"w": np.zeros(2, np.float32)})
        assert got["w"].tobytes() == model["w"].tobytes(), f"{value} became {got['w'][1]}: the error must be seen"

    def test_a_frame_with_a_byte_too_many_is_a_bad_blob(self) -> None:
        values, base = drawn("F32", 100, 1), np.zeros(100, np.float32)
        for frame in self.codec().pack(values, base, np.random.default_rng(0)):
            try:
                self.codec().unpack(memoryview(frame + b"\0"), base)
            except BadBlob:
                continue
            raise AssertionError("a frame with a byte too many was read")

    def test_an_update_takes_no_more_bytes_than_the_codec_says(self) -> None:
        base = {"w": drawn("F32", 200_000, 0)}
        model = {"w": base["w"] + drawn("F32", 200_000, 1) / 64}
        size = len(b"".join(self.codec().encode(model, base=base)))
        part = size / model["w"].nbytes
        assert part <= self.share, f"{size:,} of {model['w'].nbytes:,} bytes are {part:.3f}; `share` is {self.share}"

    def test_what_is_left_out_is_made_up_for(self) -> None:
        """The same change in each round: with the memory of what was left out the mean error falls with the rounds."""
        if not self.codec.feedback:
            pytest.skip("declares no `feedback`")
        step, x, left = drawn("F64", 200, 1), np.zeros(200), np.zeros(200)
        errors = []
        for number in range(1, 101):
            wanted = x + step + left
            x = self._sent({"w": wanted}, {"w": x}, seed=number)["w"]
            left = wanted - x
            errors.append(float(np.linalg.norm(x - number * step) / np.linalg.norm(number * step)))
        assert errors[99] <= errors[9] / 4, f"off by {errors[9]:.3f} after 10 rounds and {errors[99]:.3f} after 100"

    def _sent(self, model: Arrays, base: Arrays | None, *, seed: int = 0) -> Arrays:
        data = b"".join(self.codec().encode(model, base=base, seed=seed))
        return dict(self.codec().decode(data, base=base))


def drawn(dtype: str, size: int, seed: int) -> NDArray[Any]:
    """Normal numbers, the same each time."""
    return np.random.default_rng(seed).normal(size=size).astype(DTYPES[dtype])
