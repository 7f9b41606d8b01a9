"""What is encoded comes back; what is written, the safetensors library reads, and the other way round."""

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from numpy.typing import NDArray

from fedk_protocol.codec import DTYPES, BadBlob, Safetensors, Spec, layout_of, read_layout

codec = Safetensors()

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    dtype, shape = draw(st.sampled_from(list(DTYPES.values()))), draw(shapes)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    array: NDArray[Any] = (raw & 1 if dtype == np.bool_ else raw).view(dtype).reshape(shape)
    return array


models = st.dictionaries(names, arrays(), max_size=6)


@given(models)
def test_names_order_shapes_dtypes_and_every_bit_come_back(model: dict[str, NDArray[Any]]) -> None:
    back = codec.decode(codec.dumps(model))
    assert list(back) == list(model)
    for name, array in model.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


@given(models)
def test_the_layout_that_is_written_is_the_layout_that_is_read(model: dict[str, NDArray[Any]]) -> None:
    blob = codec.dumps(model, {"from": "here"})
    assert read_layout(blob, len(blob)) == layout_of(model, {"from": "here"})


@given(models)
def test_every_tensor_is_aligned_to_its_element(model: dict[str, NDArray[Any]]) -> None:
    layout = layout_of(model)
    assert all(tensor.offset % tensor.dtype.itemsize == 0 for tensor in layout.tensors)
    assert len(layout.header) % 8 == 0


@given(models)
def test_the_safetensors_library_reads_what_is_written(model: dict[str, NDArray[Any]]) -> None:
    read = dict(safetensors.deserialize(codec.dumps(model)))  # type: ignore[no-untyped-call]  # its stub has no types
    assert set(read) == set(model)
    for name, array in model.items():
        assert DTYPES[read[name]["dtype"]] == array.dtype
        assert read[name]["shape"] == list(array.shape)
        assert bytes(read[name]["data"]) == array.tobytes()


@given(models)
def test_what_the_safetensors_library_writes_is_read(model: dict[str, NDArray[Any]]) -> None:
    back = codec.decode(safetensors.numpy.save(model, {"format": "np"}))
    assert set(back) == set(model)
    assert all(back[name].tobytes() == array.tobytes() for name, array in model.items())


def test_files_go_both_ways(tmp_path: Path) -> None:
    model: dict[str, NDArray[Any]] = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3)}
    (tmp_path / "ours").write_bytes(codec.dumps(model))
    safetensors.numpy.save_file(model, tmp_path / "theirs")
    for read in (safetensors.numpy.load_file(tmp_path / "ours"), codec.decode((tmp_path / "theirs").read_bytes())):
        assert read["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert read["b"].dtype == np.float64


def test_equal_specs_give_equal_headers_whatever_the_values() -> None:
    a: dict[str, NDArray[Any]] = {"w": np.zeros((2, 3), np.float32), "b": np.ones(3)}
    b: dict[str, NDArray[Any]] = {"w": np.full((2, 3), 7, np.float32), "b": np.zeros(3)}
    specs = {"w": Spec(np.dtype(np.float32), (2, 3)), "b": Spec(np.dtype(float), (3,))}
    assert layout_of(a).header == layout_of(b).header == layout_of(specs).header


def test_the_frameworks_order_is_kept_and_the_data_is_sorted() -> None:
    model: dict[str, NDArray[Any]] = {
        "z.weight": np.zeros(2, np.float32),
        "a.count": np.asarray(3),
        "a.weight": np.zeros(2, np.float32),
    }
    layout = layout_of(model)
    assert layout.order == ("z.weight", "a.count", "a.weight")
    assert [tensor.name for tensor in layout.tensors] == ["a.count", "a.weight", "z.weight"]


def test_the_header_of_a_small_model_is_this_text() -> None:
    blob = codec.dumps({"w": np.zeros(2, np.float32), "n": np.asarray(1)})
    length = int.from_bytes(blob[:8], "little")
    assert blob[8 : 8 + length].rstrip() == (
        b'{"__metadata__":{"fedk.order":"[\\"w\\",\\"n\\"]"},'
        b'"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
    )


def test_arrays_in_other_orders_of_bytes_or_axes_are_written_as_the_format_wants() -> None:
    model = {"big": np.arange(3, dtype=">i4"), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    back = codec.decode(codec.dumps({**model, "every second": np.arange(6, dtype="i4")[::2]}))
    assert back["big"].tolist() == [0, 1, 2]
    assert back["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["every second"].tolist() == [0, 2, 4]


def test_contiguous_arrays_are_neither_copied_when_written_nor_when_read() -> None:
    array = np.arange(1000.0)
    _, data = codec.encode({"w": array})
    assert np.shares_memory(np.frombuffer(data, np.uint8), array)
    blob = codec.dumps({"w": array})
    assert np.shares_memory(codec.decode(blob)["w"], np.frombuffer(blob, np.uint8))


def test_c_types_of_equal_width_are_one_dtype() -> None:
    layout = layout_of({"q": np.zeros(1, np.longlong), "l": np.zeros(1, np.int_)})
    assert layout["q"].dtype == layout["l"].dtype == np.int64


def test_metadata_comes_back_without_the_order() -> None:
    blob = codec.dumps({"w": np.zeros(1)}, {"made by": "tests"})
    assert read_layout(blob, len(blob)).metadata == {"made by": "tests"}


@pytest.mark.parametrize(
    "array", [np.zeros(1, complex), np.array(["text"]), np.array([{}]), np.zeros(1, np.longdouble)]
)
def test_a_dtype_that_the_format_lacks_is_named_with_the_choices(array: NDArray[Any]) -> None:
    with pytest.raises(BadBlob, match=r"w is .*; the format has float64, float32") as caught:
        codec.dumps({"w": array})
    assert caught.value.reason == "bad-dtype"


@pytest.mark.parametrize("name", ["__metadata__", "lone \ud800 surrogate"])
def test_a_name_that_the_format_lacks_is_refused(name: str) -> None:
    with pytest.raises(BadBlob) as caught:
        codec.dumps({name: np.zeros(1)})
    assert caught.value.reason == "bad-names"


@pytest.mark.parametrize(
    ("other", "reason", "text"),
    [
        ({"w": np.zeros(2)}, "bad-names", "b is missing"),
        ({"w": np.zeros(2), "b": np.zeros(1), "c": np.zeros(1)}, "bad-names", "c is not in the model"),
        ({"w": np.zeros((1, 2)), "b": np.zeros(1)}, "bad-shape", "w has shape 1×2, the model 2"),
        ({"w": np.zeros(2, np.float32), "b": np.zeros(1)}, "bad-dtype", "w is float32, the model's float64"),
    ],
)
def test_the_first_difference_to_the_model_is_named(other: dict[str, NDArray[Any]], reason: str, text: str) -> None:
    model = layout_of({"w": np.zeros(2), "b": np.zeros(1)})
    difference = layout_of(other).mismatch(model)
    assert difference is not None
    assert (difference.reason, str(difference)) == (reason, text)
    assert not layout_of(other).same_tensors(model)


def test_the_same_tensors_in_another_order_are_the_same() -> None:
    a = {"w": np.zeros(2), "b": np.zeros(1)}
    assert layout_of(a).same_tensors(layout_of(dict(reversed(a.items()))))


def test_the_codec_is_found_by_its_entry_point() -> None:
    (entry,) = entry_points(group="fedk.codecs", name="safetensors")
    assert entry.load() is Safetensors


def test_a_header_is_json_for_any_reader() -> None:
    layout = layout_of({"ü\n": np.zeros((0, 3))})
    assert json.loads(layout.header[8:])["ü\n"]["shape"] == [0, 3]
