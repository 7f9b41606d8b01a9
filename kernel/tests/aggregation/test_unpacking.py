"""A result whose model came in a codec, as the native bytes that are checked and folded."""

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedk.aggregation.expected import Expected, expect
from fedk.aggregation.intake import Facts, Intake
from fedk.aggregation.unpacking import Hashing, Unpacked
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State
from fedk.api.codec import BlockCodec, Buffer
from fedk.api.errors import Refused
from fedk_protocol.blocks import PACKED
from fedk_protocol.codec import Safetensors, elements, in_blocks

BASE: dict[str, NDArray[Any]] = {
    "w": np.linspace(-1, 1, 70_000, dtype=np.float32),  # two blocks
    "b": np.zeros(3, np.float64),
    "steps": np.array(3),
}


class Mean(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Controlled(Mean):
    sets = ("control",)


class Difference(BlockCodec):
    """The float64 difference to the model trained on."""

    name = "difference"
    based = True

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block, like in zip(in_blocks(values), in_blocks(base), strict=True):
            yield (block.astype(np.float64) - like.astype(np.float64)).tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        change = elements(frame, np.dtype(np.float64), base.size)
        return np.asarray(base.astype(np.float64) + change).astype(base.dtype)


class Breaks(Difference):
    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        raise ZeroDivisionError("a bug")


class Writes(Difference):
    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        base += 1
        return base


def moved(by: float = 0.25) -> dict[str, NDArray[Any]]:
    return {"w": BASE["w"] + np.float32(by), "b": BASE["b"] + by, "steps": np.array(4)}


def packed(arrays: Any, codec: BlockCodec | None = None) -> bytes:
    return b"".join((codec or Difference()).encode(arrays, base={n: BASE.get(n, a) for n, a in arrays.items()}))


def hashed(expected: Expected, **blobs: bytes) -> tuple[bytes, Facts]:
    data, hashing = (
        b"".join(blobs[name] for name in sorted(blobs)),
        Hashing(expected, {n: len(b) for n, b in blobs.items()}),
    )
    for at in range(0, len(data), 1000):
        hashing.feed(data[at : at + 1000])
    return data, hashing.finish()


def unpacked(expected: Expected, codec: BlockCodec | None = None, **blobs: bytes) -> tuple[bytes, Facts]:
    data, came = hashed(expected, **blobs)
    found = Unpacked(codec or Difference(), expected, Buffer(data), came.blobs)
    intake, native = Intake(expected, found.sizes), bytearray()
    for piece in found.pieces():
        intake.feed(piece)
        native += piece
    assert len(native) == found.size
    return bytes(native), intake.finish()


@pytest.fixture
def expected(bench: Any) -> Expected:
    return expect(Mean(), bench.model(BASE))


def test_the_native_bytes_are_those_of_the_update_to_the_bit(expected: Expected) -> None:
    native, facts = unpacked(expected, model=packed(moved()))
    assert native == Safetensors().dumps(moved())
    assert facts.norm == pytest.approx(0.25 * np.sqrt(70_003), rel=1e-6)
    assert facts.blobs["model"].sha256 == hashlib.sha256(native).digest()


def test_sets_beside_the_model_come_through_as_they_are(bench: Any) -> None:
    expected = expect(Controlled(), bench.model(BASE))
    control = Safetensors().dumps({"w": np.ones(70_000, np.float32), "b": np.ones(3)})
    native, facts = unpacked(expected, model=packed(moved()), control=control)
    assert native == control + Safetensors().dumps(moved())
    assert facts.blobs["model"].offset == len(control)


def test_the_hash_while_bytes_arrive_is_that_of_the_bytes_that_came(bench: Any) -> None:
    expected = expect(Controlled(), bench.model(BASE))
    data, facts = hashed(expected, model=b"m" * 5_000, control=b"c" * 3_000)
    assert facts.sha256 == hashlib.sha256(data).digest()
    places = {name: (one.offset, one.size, one.sha256) for name, one in facts.blobs.items()}
    assert places["control"] == (0, 3_000, hashlib.sha256(b"c" * 3_000).digest())
    assert places["model"] == (3_000, 5_000, hashlib.sha256(b"m" * 5_000).digest())


def test_a_byte_too_many_or_too_few_is_refused_while_bytes_arrive(expected: Expected) -> None:
    hashing = Hashing(expected, {"model": 10})
    hashing.feed(b"123456789")
    with pytest.raises(Refused, match="9 bytes came of the 10") as short:
        hashing.finish()
    hashing.feed(b"0")
    with pytest.raises(Refused, match="more bytes came than the 10") as long:
        hashing.feed(b"!")
    assert (short.value.reason, long.value.reason) == ("bad-hash", "too-large")
    with pytest.raises(Refused, match="unexpected x"):
        Hashing(expected, {"model": 10, "x": 3})


@pytest.mark.parametrize(
    ("arrays", "reason", "says"),
    [
        ({"w": BASE["w"], "b": BASE["b"]}, "bad-names", "missing steps"),
        ({**moved(), "x": np.ones(3)}, "bad-names", "unexpected x"),
        ({**moved(), "b": np.ones(4)}, "bad-shape", "b is"),
        ({**moved(), "b": np.ones(3, np.float32)}, "bad-dtype", "b is float32"),
    ],
)
def test_another_model_is_refused_before_anything_is_unpacked(
    expected: Expected, arrays: Any, reason: str, says: str
) -> None:
    data, came = hashed(expected, model=b"".join(Difference().encode(arrays)))
    with pytest.raises(Refused, match=says) as refused:
        Unpacked(Difference(), expected, Buffer(data), came.blobs)
    assert refused.value.reason == reason


def test_what_is_not_finite_or_too_large_is_refused_with_its_tensor(expected: Expected) -> None:
    for value, reason in ((np.nan, "non-finite"), (1e9, "too-large")):
        arrays = moved()
        arrays["w"][69_999] = value
        with pytest.raises(Refused, match="w ") as refused:
            unpacked(expected, model=packed(arrays))
        assert refused.value.reason == reason


def test_a_change_that_makes_infinity_of_the_base_is_refused(expected: Expected) -> None:
    data = bytearray(packed(moved()))
    data[-8:] = np.array([np.inf]).tobytes()  # the last element of the last frame
    with pytest.raises(Refused) as refused:
        unpacked(expected, model=bytes(data))
    assert refused.value.reason == "non-finite"


@pytest.mark.parametrize(("codec", "says"), [(Breaks, "ZeroDivisionError: a bug"), (Writes, "read-only")])
def test_a_codec_that_fails_refuses_the_result_and_names_itself(
    expected: Expected, codec: type[BlockCodec], says: str
) -> None:
    with pytest.raises(Refused, match=f"codec difference failed on it: .*{says}") as refused:
        unpacked(expected, codec(), model=packed(moved()))
    assert refused.value.reason == "bad-format"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_whatever_is_changed_or_cut_is_refused_or_another_update(
    expected: Expected, at: float, byte: int, cut: bool
) -> None:
    data = packed(moved())
    place = int(at**4 * len(data))  # mostly in the header, which says more
    bad = data[:place] if cut else data[:place] + bytes([byte]) + data[place + 1 :]
    try:
        native, _ = unpacked(expected, model=bad)
    except Refused:
        return
    assert len(native) == len(Safetensors().dumps(moved()))


def test_a_header_that_claims_a_terabyte_is_refused_in_little_memory(expected: Expected) -> None:
    claims = json.dumps({"w": ["F32", [2**38]], "b": ["F64", [3]], "steps": ["I64", []]})
    blob = Safetensors().dumps({name: np.zeros(64, np.uint8) for name in BASE}, {PACKED: claims})
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        unpacked(expected, model=blob)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (refused.value.reason, peak < 2**20) == ("bad-shape", True)


def test_unpacking_a_hundred_megabytes_takes_the_memory_of_a_few_blocks(bench: Any) -> None:
    large = {"w": np.zeros(12_500_000)}
    expected = expect(Mean(), bench.model(large))
    data = b"".join(Difference().encode({"w": np.full(12_500_000, 0.5)}, base=large))
    found = Unpacked(Difference(), expected, Buffer(data), hashed(expected, model=data)[1].blobs)
    intake = Intake(expected, found.sizes)
    tracemalloc.start()
    for piece in found.pieces():
        intake.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert intake.finish().norm == pytest.approx(0.5 * np.sqrt(12_500_000))
    assert peak < 8 * 2**20, f"{peak / 2**20:.1f} MiB"
