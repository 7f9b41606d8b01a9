"""The suite is proved on codecs that are wrong on purpose: each must fail the right test."""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.api.codec import Arrays, Safetensors
from fedk.testing.codec import CodecSuite

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class TestSafetensors(CodecSuite):
    codec = Safetensors


class Nameless(Safetensors):
    name = ""


class Sorts(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        return dict(sorted(super().decode(data).items()))


class Widens(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        return {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in super().decode(data).items()}


class Flattens(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        return {name: np.atleast_1d(array) for name, array in super().decode(data).items()}


class Stamps(Safetensors):
    def encode(self, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
        return super().encode(arrays, {"at": str(time.perf_counter_ns())})


class Scales(Safetensors):
    """Writes into what it was given."""

    def encode(self, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
        for array in arrays.values():
            array.fill(1)
        return super().encode(arrays, metadata)


class Rounds(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        return {n: a + 0.01 if a.dtype.kind == "f" else a for n, a in super().decode(data).items()}


class Trusts(Safetensors):
    """Lets numpy raise what it likes."""

    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        return {"w": np.frombuffer(data[8 + int.from_bytes(data[:8], "little") :], np.float64)}


class Forgives(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        try:
            return super().decode(data)
        except ValueError:
            return {}


class Unpickles(Safetensors):
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = pickle.loads(data)  # noqa: S301  # the fault that the suite must find
        return found


F32 = np.dtype(np.float32)
Test = Callable[[CodecSuite], None]


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (Nameless, CodecSuite.test_it_has_the_name_that_blobs_carry, "ASCII characters"),
        (Sorts, CodecSuite.test_names_come_back_in_their_order, "another order"),
        (
            Widens,
            lambda s: CodecSuite.test_every_dtype_comes_back_as_it_was(s, F32),
            "went as float32, came as float64",
        ),
        (Flattens, lambda s: CodecSuite.test_every_shape_comes_back(s, ()), r"went as \(\), came as \(1,\)"),
        (Stamps, CodecSuite.test_equal_arrays_have_equal_bytes, "hashes of equal models must be equal"),
        (Scales, CodecSuite.test_encoding_leaves_the_arrays_alone, "wrote into an array"),
        (Rounds, CodecSuite.test_views_that_are_not_contiguous_come_back, "turned: values changed"),
        (Rounds, CodecSuite.test_extreme_values_come_back, "subnormals are values too"),
        (Stamps, CodecSuite.test_the_pieces_are_the_blob, "not what dumps gives"),
        (Trusts, CodecSuite.test_a_truncated_blob_is_a_bad_blob_wherever_it_was_cut, "the first . of .* bytes"),
        (Forgives, CodecSuite.test_a_truncated_blob_is_a_bad_blob_wherever_it_was_cut, "were read as a model"),
        (Forgives, CodecSuite.test_bytes_that_are_no_blob_are_a_bad_blob, "1 random bytes were read as a model"),
        (Trusts, CodecSuite.test_a_changed_byte_is_a_bad_blob_or_another_value_and_nothing_worse, "Raise BadBlob"),
    ],
)
def test_a_wrong_codec_fails_the_right_test_with_a_readable_message(
    wrong: type[Safetensors], test: Test, message: str
) -> None:
    suite = CodecSuite()
    suite.codec = wrong  # type: ignore[misc]  # a class variable of this one suite
    with pytest.raises(AssertionError, match=message):
        test(suite)


def test_a_codec_that_executes_what_it_reads_is_found(tmp_path: Path) -> None:
    suite = CodecSuite()
    suite.codec = Unpickles  # type: ignore[misc]  # as above
    with pytest.raises(AssertionError, match="never unpickle"):
        suite.test_nothing_that_is_read_is_executed(tmp_path)


def test_a_lossy_codec_may_be_off_by_its_tolerance() -> None:
    suite = CodecSuite()
    suite.codec, suite.tolerance = Rounds, 0.02  # type: ignore[misc]  # as above
    suite.test_every_dtype_comes_back_as_it_was(np.dtype(np.float64))
    suite.tolerance = 0.001  # type: ignore[misc]  # as above
    with pytest.raises(AssertionError, match=r"is off by 0\.01, `tolerance` allows 0\.001"):
        suite.test_every_dtype_comes_back_as_it_was(np.dtype(np.float64))
