"""State tensors that go out with each task: as a blob of their own, in the model's shapes and dtypes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.grid import Grid
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, Numbers
from fedk.aggregation.scratch import WIDEST
from fedk.api.aggregator import AnyAggregator, Config
from fedk_protocol.codec import Spec, Tensor, layout_of


def send(
    aggregator: AnyAggregator[Config],
    name: str,
    state: Model | None,
    grid: Grid,
    out: Callable[[bytes | memoryview], None],
) -> None:
    """The state tensors `name` as safetensors: the model's stepped tensors, each in its own dtype. Blocking."""
    fill = aggregator.initial()[name]
    stepped = [tensor for tensor in grid.base.tensors if tensor.name not in grid.not_stepped]
    layout = layout_of({tensor.name: Spec(tensor.dtype, tensor.shape) for tensor in stepped})
    scratch = np.empty(BLOCK * WIDEST, np.uint8)
    out(layout.header)
    for tensor in layout.tensors:
        for start in range(0, tensor.size, BLOCK):
            count = min(BLOCK, tensor.size - start)
            if state is None:
                block = np.full(count, fill, tensor.dtype)
            else:
                kept = state.layout[f"{name}/{tensor.name}"]
                block = _kept(state, kept, start, count, scratch).astype(tensor.dtype)
            out(block.view(np.uint8).data)


def _kept(state: Model, kept: Tensor, start: int, count: int, scratch: NDArray[np.uint8]) -> Numbers:
    return state.block(kept.dtype, kept.offset + start * kept.dtype.itemsize, count, scratch)
