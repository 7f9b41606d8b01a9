"""What every codec must do. Subclass `CodecSuite`, name the class, and run it with pytest.

class TestNpz(CodecSuite):
    codec = Npz
"""

import pickle
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.testing.suite import Suite, since
from fedk_protocol.codec import DTYPES, BadBlob, Codec

Arrays = dict[str, NDArray[Any]]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@since("1.0")
class CodecSuite(Suite):
    """The contract of `fedk_protocol.codec.Codec`: what is written comes back, and whatever is read does no harm."""

    codec: ClassVar[type[Codec]]
    """The class."""
    tolerance: ClassVar[float] = 0.0
    """How far a value may be off, relative to its tensor's largest; 0: bytes come back."""

    def test_it_has_the_name_that_blobs_carry(self) -> None:
        name = getattr(self.codec, "name", None)
        assert isinstance(name, str), "name the codec: `name` is Blob.codec on the wire, and the entry point's name"
        assert re.fullmatch(r"[!-~]{1,32}", name), f"{name!r}: 1 to 32 ASCII characters travel with every blob"

    @pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
    def test_every_dtype_comes_back_as_it_was(self, dtype: "np.dtype[Any]") -> None:
        self._comes_back({"w": numbers(dtype, (3, 4)), "b": numbers(dtype, (5,))})

    def test_names_come_back_in_their_order(self) -> None:
        arrays = {name: np.arange(3.0) for name in ("z.weight", "a.bias", "Ünïcödé/π", "m 1", "_")}
        got = self._through(arrays)
        assert list(got) == list(arrays), "the names came back in another order, or others"

    @pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (1, 1, 1), (2, 3, 4, 5)], ids=str)
    def test_every_shape_comes_back(self, shape: tuple[int, ...]) -> None:
        self._comes_back({"w": numbers(np.dtype(np.float32), shape)})

    def test_a_model_without_tensors_comes_back(self) -> None:
        assert self._through({}) == {}, "no tensors went in"

    def test_views_that_are_not_contiguous_come_back(self) -> None:
        grid = np.arange(24.0).reshape(4, 6)
        self._comes_back({"turned": grid.T, "every second": grid[::2, ::3], "backwards": grid[::-1]})

    def test_big_endian_arrays_come_back_with_their_values(self) -> None:
        big = np.arange(4, dtype=">f4")
        (got,) = self._through({"w": big}).values()
        if self.tolerance:
            self._is_near("w", got, big)
        else:
            assert np.array_equal(got, big), "the values of a big-endian array changed"

    def test_extreme_values_come_back(self) -> None:
        values = np.array([0.0, -0.0, 5e-324, 1.7e308, -1.7e308])
        if self.tolerance:
            pytest.skip("declares a `tolerance`")
        (got,) = self._through({"w": values}).values()
        assert got.tobytes() == values.tobytes(), f"{got} came back for {values}: -0.0 and subnormals are values too"

    def test_equal_arrays_have_equal_bytes(self) -> None:
        arrays = {"w": np.arange(10.0), "b": np.ones(3, np.float16)}
        copies = {name: array.copy() for name, array in arrays.items()}
        one, two = self.codec().dumps(arrays), self.codec().dumps(copies)
        assert one == two, (
            "the same arrays gave other bytes: hashes of equal models must be equal (no clock, no random)"
        )

    def test_encoding_leaves_the_arrays_alone(self) -> None:
        arrays = {"w": np.arange(10.0)}
        before = arrays["w"].copy()
        self.codec().dumps(arrays)
        assert np.array_equal(arrays["w"], before), "encode wrote into an array that it was given"

    def test_the_pieces_are_the_blob(self) -> None:
        arrays = {"w": np.arange(10.0), "b": np.ones(3)}
        pieces = b"".join(bytes(piece) for piece in self.codec().encode(arrays))
        assert pieces == self.codec().dumps(arrays), "encode's pieces are not what dumps gives"

    def test_a_memoryview_is_read_as_bytes_are(self) -> None:
        data = self.codec().dumps({"w": np.arange(10.0)})
        (got,) = self.codec().decode(memoryview(data)).values()
        (wanted,) = self.codec().decode(data).values()
        assert np.array_equal(got, wanted), "a memoryview of the same bytes gave other values"

    def test_metadata_does_no_harm(self) -> None:
        arrays = {"w": np.arange(10.0)}
        data = self.codec().dumps(arrays, {"framework": "torch", "π": "3"})
        assert list(self.codec().decode(data)) == ["w"], "metadata became a tensor"

    def test_a_truncated_blob_is_a_bad_blob_wherever_it_was_cut(self) -> None:
        data = self.codec().dumps({"w": np.arange(10.0), "b": np.ones(3)})
        for size in sorted({*range(min(len(data), 64)), *range(0, len(data), 7), len(data) - 1}):
            self._refuses(data[:size], f"the first {size} of {len(data)} bytes")

    def test_bytes_that_are_no_blob_are_a_bad_blob(self) -> None:
        random = Random(0)  # noqa: S311  # test data
        for size in (1, 8, 9, 100, 5000):
            self._refuses(random.randbytes(size), f"{size} random bytes")
        self._refuses(b"\xff" * 64, "64 bytes of 0xff, a header that claims to be huge")

    def test_a_changed_byte_is_a_bad_blob_or_another_value_and_nothing_worse(self) -> None:
        data = self.codec().dumps({"w": np.arange(10.0)})
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            try:
                self.codec().decode(changed)
            except BadBlob:
                continue
            except Exception as error:
                raise AssertionError(f"byte {at} changed: {_said(error)}. Raise BadBlob") from error

    def test_nothing_that_is_read_is_executed(self, tmp_path: Path) -> None:
        target = tmp_path / "executed"
        for data in _bombs(target):
            with suppress(Exception):  # refused in whatever way: other tests look at how
                self.codec().decode(data)
            assert not target.exists(), "decode executed what it read: never unpickle (numpy: allow_pickle=False)"

    # ---- what the tests are made of ----

    def _through(self, arrays: Arrays) -> Arrays:
        return dict(self.codec().decode(self.codec().dumps(arrays)))

    def _comes_back(self, arrays: Arrays) -> None:
        got = self._through(arrays)
        for name, array in arrays.items():
            assert name in got, f"{name} is not there"
            assert got[name].dtype == array.dtype, f"{name} went as {array.dtype}, came as {got[name].dtype}"
            assert got[name].shape == array.shape, f"{name} went as {array.shape}, came as {got[name].shape}"
            self._is_near(name, got[name], array)

    def _is_near(self, name: str, got: NDArray[Any], array: NDArray[Any]) -> None:
        if not self.tolerance or array.dtype.kind in "iub":
            assert got.tobytes() == np.ascontiguousarray(array).tobytes(), f"{name}: values changed"
            return
        wide, exact = got.astype(np.float64), array.astype(np.float64)
        most = np.abs(exact).max(initial=0.0) * self.tolerance
        off = np.abs(wide - exact).max(initial=0.0)
        assert off <= most, f"{name} is off by {off:g}, `tolerance` allows {most:g}"

    def _refuses(self, data: bytes, what: str) -> None:
        try:
            self.codec().decode(data)
        except BadBlob:
            return
        except Exception as error:
            raise AssertionError(
                f"{what}: {_said(error)}. Raise BadBlob: only that is a refusal with a reason"
            ) from error
        raise AssertionError(f"{what} were read as a model")


def _bombs(target: Path) -> Iterator[bytes]:
    """Bytes that make `target` when they are unpickled, in the three ways that people store arrays."""
    bomb = np.empty(1, object)
    bomb[0] = Bomb(target)
    yield pickle.dumps({"w": bomb})
    for write in (np.save, partial(np.savez, allow_pickle=True)):
        file = BytesIO()
        write(file, bomb)
        yield file.getvalue()


def numbers(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> NDArray[Any]:
    """Small numbers that every dtype has."""
    size = int(np.prod(shape, dtype=int))
    return (np.arange(size) % 2).reshape(shape).astype(dtype)


def _said(error: Exception) -> str:
    return f"decode raised {type(error).__name__}: {error}"
