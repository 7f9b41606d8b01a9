"""Hostile heads: whatever a stranger sends ends as a layout that is true, or as BadBlob with a reason."""

import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors
from hypothesis import given

from fedk_protocol.codec import BadBlob, NeedMore, Safetensors, layout_of, read_layout

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MODEL = Safetensors().dumps({"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(3, np.float32), "on": np.array(True)})


def blob(header: Any, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("header", "reason", "text"),
    [
        ({"w": {**GOOD, "data_offsets": [0, 4]}}, "bad-format", "w has 4 bytes, its dtype and shape need 8"),
        ({"w": {**GOOD, "data_offsets": [8, 0]}}, "bad-format", "w has -8 bytes"),
        ({"w": {**GOOD, "data_offsets": [-8, 0]}}, "bad-format", "data_offsets wants"),
        ({"w": {**GOOD, "data_offsets": [0, 8, 8]}}, "bad-format", "data_offsets wants"),
        ({"w": {**GOOD, "data_offsets": [0.0, 8.0]}}, "bad-format", "data_offsets wants"),
        ({"w": {**GOOD, "data_offsets": [False, 8]}}, "bad-format", "data_offsets wants"),
        ({"w": {**GOOD, "data_offsets": None}}, "bad-format", "data_offsets wants"),
        ({"w": {**GOOD, "data_offsets": [4, 12]}}, "bad-format", "w leaves a hole before it"),
        ({"v": GOOD, "w": GOOD}, "bad-format", "w overlaps the tensor before it"),
        ({"w": {**GOOD, "shape": [1], "data_offsets": [0, 4]}}, "bad-format", "describes .* bytes, the blob has"),
        ({}, "bad-format", "describes .* bytes, the blob has"),
        ({"w": {**GOOD, "shape": [-2]}}, "bad-shape", "w: shape wants"),
        ({"w": {**GOOD, "shape": [True, 2]}}, "bad-shape", "w: shape wants"),
        ({"w": {**GOOD, "shape": 2}}, "bad-shape", "w: shape wants"),
        ({"w": {**GOOD, "shape": [1] * 65}}, "bad-shape", "at most 64"),
        ({"w": {**GOOD, "shape": [2**40, 2**40]}}, "bad-shape", "so many elements"),
        ({"w": {**GOOD, "shape": [0, 2**62, 2**62]}}, "bad-shape", "so many elements"),
        ({"w": {**GOOD, "dtype": "F31"}}, "bad-dtype", "w has a dtype F31; the format has F64"),
        ({"w": {**GOOD, "dtype": ["F32"]}}, "bad-dtype", "w has a dtype that is no text"),
        ({"w": [GOOD]}, "bad-format", "w is not an object"),
        ({"w": {}}, "bad-dtype", "w has a dtype"),
        ({"__metadata__": {"a": 1}, "w": GOOD}, "bad-format", "not an object of strings"),
        ({"__metadata__": [], "w": GOOD}, "bad-format", "not an object of strings"),
        ({"__metadata__": {"a": "\ud800"}, "w": GOOD}, "bad-format", "not an object of strings"),
        ({"__metadata__": {"fedk.order": "["}, "w": GOOD}, "bad-format", "fedk.order is not JSON"),
        ({"__metadata__": {"fedk.order": "[1]"}, "w": GOOD}, "bad-format", "not a list of names"),
        ({"__metadata__": {"fedk.order": '["v"]'}, "w": GOOD}, "bad-names", "does not name each tensor once"),
        ({"__metadata__": {"fedk.order": '["w","w"]'}, "w": GOOD}, "bad-names", "does not name each tensor once"),
        ({"\ud800": GOOD}, "bad-names", "not Unicode text"),
        (b'{"w":{},"w":{}}', "bad-names", "w stands twice"),
        (b'{"\\u0000\\n' + b"x" * 200 + b'":{}}', "bad-dtype", r"^'\\x00\\nxxx.*\.\.\. has a dtype"),
        (b"[]", "bad-format", "does not begin with {"),
        (b"\xef\xbb\xbf{}", "bad-format", "does not begin with {"),
        (b"", "bad-format", "does not begin with {"),
        (b"{", "bad-format", "not JSON"),
        (b'{"w":NaN}', "bad-format", "not JSON"),
        (b'{"\xff":{}}', "bad-format", "not JSON"),
        (b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad-format", "not JSON"),
        (b'{"w":' + b"9" * 5000 + b"}", "bad-format", "not JSON"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_header_is_refused_with_its_reason(header: Any, reason: str, text: str) -> None:
    with pytest.raises(BadBlob, match=text) as caught:
        Safetensors().decode(blob(header))
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400


def test_a_header_longer_than_the_blob_is_refused_before_it_is_awaited() -> None:
    head = (2**63).to_bytes(8, "little")
    with pytest.raises(BadBlob, match="claims 9,223,372,036,854,775,808 bytes, the whole blob has 100"):
        read_layout(head, 100)


def test_a_header_longer_than_the_limit_is_refused_before_it_is_awaited() -> None:
    with pytest.raises(BadBlob, match="claims 5,000 bytes, the most is 4,096") as caught:
        read_layout((5000).to_bytes(8, "little"), 10**9, limit=4096)
    assert caught.value.reason == "too-large"


def test_a_writer_refuses_a_header_that_no_reader_takes() -> None:
    with pytest.raises(BadBlob, match="header of 1 tensors is longer"):
        layout_of({"x" * 2**24: np.zeros(1)})


def test_a_head_says_how_much_of_it_is_missing() -> None:
    layout = read_layout(MODEL, len(MODEL))
    with pytest.raises(NeedMore) as first:
        read_layout(MODEL[:7], len(MODEL))
    assert first.value.size == 8
    with pytest.raises(NeedMore) as second:
        read_layout(MODEL[:8], len(MODEL))
    assert second.value.size == len(layout.header)
    assert read_layout(MODEL[: second.value.size], len(MODEL)) == layout


def test_every_truncation_of_a_blob_is_refused() -> None:
    for size in range(len(MODEL)):
        with pytest.raises(BadBlob):
            Safetensors().decode(MODEL[:size])


def test_a_blob_with_a_byte_too_many_is_refused() -> None:
    with pytest.raises(BadBlob, match="the blob has"):
        Safetensors().decode(MODEL + b"\0")


def test_a_boolean_byte_that_is_neither_0_nor_1_is_refused() -> None:
    with pytest.raises(BadBlob, match="on is BOOL"):
        Safetensors().decode(MODEL[:-1] + b"\2")


@given(st.data())
def test_a_blob_with_changed_bytes_is_refused_or_true(data: st.DataObject) -> None:
    changed = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(MODEL) - 1))] = data.draw(st.integers(0, 255))
    decode_or_refuse(bytes(changed))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
numbers = st.lists(st.integers(-1, 9) | st.integers(0, 2**70), max_size=3)
dtypes = st.sampled_from(["F64", "BF16", "BOOL", "U8", "F4"])
entries = st.fixed_dictionaries(
    {"dtype": dtypes | json_values, "shape": numbers | json_values, "data_offsets": numbers | json_values}
)
headers = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), entries | json_values, max_size=4)


@given(headers, st.binary(max_size=16))
def test_any_header_is_refused_or_true(header: Any, data: bytes) -> None:
    decode_or_refuse(blob(header, data))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_true(data: bytes) -> None:
    decode_or_refuse(data)


def decode_or_refuse(data: bytes) -> None:
    """What is accepted, the safetensors library accepts too, and sees the same tensors in it."""
    try:
        arrays = Safetensors().decode(data)
    except BadBlob:
        return
    theirs = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]  # its stub has no types
    assert {name: bytes(tensor["data"]) for name, tensor in theirs.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
