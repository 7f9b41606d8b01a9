"""State tensors that go out with each task: as a blob of their own, in the model's shapes and dtypes."""

import numpy as np

from fedk.aggregation.accumulator import Write
from fedk.aggregation.grid import Grid
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK
from fedk.aggregation.scratch import WIDEST
from fedk.api.aggregator import AnyAggregator, Config
from fedk_protocol.codec import Spec, layout_of


def send(aggregator: AnyAggregator[Config], name: str, state: Model | None, grid: Grid, out: Write) -> None:
    """The state tensors `name` as safetensors: the model's stepped tensors, each in its own dtype. Blocking."""
    stepped = [grid.base[tensor] for tensor in grid.base.order if tensor not in grid.not_stepped]
    layout = layout_of({tensor.name: Spec(tensor.dtype, tensor.shape) for tensor in stepped})
    scratch, cast = np.empty(BLOCK * WIDEST, np.uint8), np.empty(BLOCK * WIDEST, np.uint8)
    out(layout.header)
    for tensor in layout.tensors:
        for start in range(0, tensor.size, BLOCK):
            count = min(BLOCK, tensor.size - start)
            place = cast[: count * tensor.dtype.itemsize].view(tensor.dtype)
            if state is None:
                place.fill(aggregator.initial()[name])
            else:
                kept = state.layout[f"{name}/{tensor.name}"]
                offset = kept.offset + start * kept.dtype.itemsize
                np.copyto(place, state.block(kept.dtype, offset, count, scratch), casting="unsafe")
            out(place.view(np.uint8).data)
