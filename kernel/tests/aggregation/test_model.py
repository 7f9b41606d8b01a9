from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.aggregation.model import SMALL, Model
from fedk.aggregation.scratch import page
from fedk.api.errors import BlobError
from fedk_protocol.codec import Safetensors, layout_of

SCRATCH = np.empty(1 << 20, np.uint8)


@pytest.mark.parametrize("size", [10, SMALL])
def test_blocks_of_small_and_of_large_models_are_the_same_bytes(bench: Any, size: int) -> None:
    arrays: dict[str, NDArray[Any]] = {"a": np.arange(size, dtype=np.float32), "b": np.arange(size) * 3}
    model = bench.model(arrays)
    for name, array in arrays.items():
        tensor = model.layout[name]
        block = model.block(tensor.dtype, tensor.offset + 2 * array.itemsize, 5, SCRATCH)
        assert block.tolist() == array[2:7].tolist()


def test_a_header_of_any_length_is_read(bench: Any) -> None:
    arrays = {f"a tensor with a rather long name, number {n}": np.full(100, n) for n in range(3000)}
    assert bench.model(arrays).layout == layout_of(arrays)


@pytest.mark.parametrize("size", [10, SMALL])
def test_a_header_like_one_that_is_known_is_not_parsed_again(bench: Any, size: int) -> None:
    layout = layout_of({"a": np.zeros(size)})
    span = bench.span({"a": np.ones(size)})
    with Model.open(span, layout) as like, Model.open(span, layout_of({"b": np.ones(size)})) as unlike:
        assert like.layout is layout
        assert unlike.layout == layout


@pytest.mark.parametrize("data", [b"", b"no model", Safetensors().dumps({"a": np.zeros(9)})[:-1]])
def test_damaged_bytes_are_an_error_that_names_the_file(bench: Any, data: bytes) -> None:
    span = bench.span(data)
    with pytest.raises(BlobError, match=f"{span.path} at byte 9 is not a model: "):
        Model.open(span)


def test_files_are_read_into_whole_pages() -> None:
    assert [(page(size).ctypes.data % 4096, page(size).size) for size in (1, 5_000)] == [(0, 1), (0, 5_000)]
