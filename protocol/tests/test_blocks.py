"""Blobs of block codecs, read without trust."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from fedk_protocol.blocks import FRAME_MAX, PACKED
from fedk_protocol.codec import BLOCK, BadBlob, BlockCodec, Buffer, Safetensors, elements, in_blocks


class Negated(BlockCodec):
    """Each number with the other sign."""

    name = "negated"

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block in in_blocks(values):
            yield (-block).tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return -elements(frame, base.dtype, base.size)


MODEL = {"w": np.arange(BLOCK + 5, dtype=np.float32).reshape(-1, 1), "n": np.array([1, 2])}


def blob(packed: dict[str, NDArray[Any]], said: Any) -> bytes:
    text = said if isinstance(said, str) else json.dumps(said)
    return Safetensors().dumps(packed, {PACKED: text})


def row(*frames: bytes, lengths: list[int] | None = None) -> NDArray[np.uint8]:
    table = np.array([len(frame) for frame in frames] if lengths is None else lengths, "<u4").tobytes()
    return np.frombuffer(table + b"".join(frames), np.uint8)


def test_it_is_a_safetensors_file_with_a_table_and_frames_of_65536_elements() -> None:
    data = Negated().dumps(MODEL, {"framework": "numpy"})
    found = safetensors.numpy.load(data)
    table = found["w"][:8].view("<u4").tolist()
    assert table == [BLOCK * 4, 5 * 4]
    assert found["w"][8:12].view("<f4").tolist() == [-0.0]
    assert found["w"][8 + table[0] :].view("<f4").tolist() == [-65536, -65537, -65538, -65539, -65540]
    assert found["n"].tolist() == [1, 2]


def test_a_source_is_read_frame_by_frame_and_never_as_a_whole() -> None:
    data, asked = Negated().dumps(MODEL), []

    class Watched(Buffer):
        def read(self, at: int, n: int, /) -> memoryview:
            asked.append(n)
            return super().read(at, n)

    pieces = Negated().open(Watched(data)).pieces(lambda name, _, count: np.zeros(count, MODEL[name].dtype))
    assert b"".join(bytes(piece) for piece in pieces) == Safetensors().dumps(MODEL)
    assert max(asked) == BLOCK * 4


@pytest.mark.parametrize(
    ("packed", "said", "says"),
    [
        ({"w": row(b"1234")}, "", "does not say"),
        ({"w": row(b"1234")}, "[" * 100_000, "does not say"),
        ({"w": row(b"1234")}, [1], "does not say"),
        ({"w": row(b"1234")}, {"w": ["F32"]}, "does not say"),
        ({"w": row(b"1234")}, {"w": ["F33", [1]]}, "does not say"),
        ({"w": row(b"1234")}, {"w": ["F32", [-1]]}, "does not say"),
        ({"w": row(b"1234")}, {"w": ["F32", [True]]}, "does not say"),
        ({"w": row(b"1234")}, {"w": ["F32", [2**62, 2**62]]}, "does not say"),
        ({"w": row(b"1234")}, {"w": ["F32", [1] * 65]}, "does not say"),
        ({"w": row(b"1234")}, {"v": ["F32", [1]]}, "no row of bytes"),
        ({"w": np.zeros(2)}, {"w": ["F32", [1]]}, "no row of bytes"),
        ({"w": row(b"1234").reshape(2, -1)}, {"w": ["F32", [1]]}, "no row of bytes"),
        ({"w": row(b"12345")}, {"w": ["F32", [1]]}, "a frame of 5 bytes, 1 elements of float32 have 4"),
        ({"w": row(b"1234")}, {"w": ["F32", [2]]}, "a frame of 4 bytes"),
        ({"w": row(b"1234")}, {"w": ["F32", [BLOCK + 1]]}, "its frames are"),
        ({"w": row(b"1234")}, {"w": ["F32", [2**40]]}, "too few for 16,777,216 blocks"),
        ({"w": row(b"1234", lengths=[3])}, {"w": ["F32", [1]]}, "its frames are 3 bytes long"),
        ({"w": row(b"1234", lengths=[2**32 - 1])}, {"w": ["F32", [1]]}, "its frames are"),
        ({"w": row(bytes(FRAME_MAX + 1))}, {"w": ["F32", [1]]}, "the most is 1,048,576"),
    ],
)
def test_what_a_stranger_wrote_is_a_bad_blob(packed: dict[str, NDArray[Any]], said: Any, says: str) -> None:
    with pytest.raises(BadBlob, match=says):
        Negated().decode(blob(packed, said))


def test_truths_that_are_not_packed_are_0_or_1() -> None:
    data = bytearray(Negated().dumps({"mask": np.array([True, False])}))
    data[-1] = 2
    with pytest.raises(BadBlob, match="mask is BOOL"):
        Negated().decode(bytes(data))


def test_a_dtype_that_the_format_lacks_is_a_bad_blob_before_it_is_packed() -> None:
    with pytest.raises(BadBlob, match="complex128"):
        Negated().dumps({"w": np.zeros(3, complex)})


def test_an_update_to_another_shape_than_the_base_is_a_bad_blob() -> None:
    with pytest.raises(BadBlob, match="where the model trained on has"):
        b"".join(Negated().encode({"w": np.zeros(3)}, base={"w": np.zeros(4)}))
