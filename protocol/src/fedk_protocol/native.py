"""The contract of codecs, and the native one, safetensors. Plugins import it from `fedk_protocol.codec`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.header import read_layout
from fedk_protocol.layout import BadBlob, NeedMore, Tensor, layout_of
from fedk_protocol.reasons import Reason

Arrays = Mapping[str, NDArray[Any]]
"""Named arrays in the order of the framework that they come from."""


class Codec(ABC):
    """Bytes ↔ named arrays. Names, order and dtypes come back; a lossy codec says how far its values may be off."""

    name: ClassVar[str]
    """Blob.codec on the wire, and the entry point's name."""

    @abstractmethod
    def encode(self, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
        """The blob in pieces, without a copy where one can be avoided: send them before an array changes."""

    @abstractmethod
    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        """The arrays, in the framework's order; they may be read-only views of `data`. Raises BadBlob."""

    def dumps(self, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> bytes:
        """The whole blob."""
        return b"".join(self.encode(arrays, metadata))


class Safetensors(Codec):
    """The native codec: a JSON header, then each tensor as it stands in memory, little-endian and C-contiguous."""

    name = "safetensors"

    def encode(self, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
        layout = layout_of(arrays, metadata)
        yield layout.header
        for tensor in layout.tensors:
            if tensor.nbytes:
                yield _raw(arrays[tensor.name], tensor.dtype)

    def decode(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        try:
            layout = read_layout(data, len(data))
        except NeedMore as error:
            raise BadBlob(Reason.BAD_FORMAT, f"{len(data):,} bytes are not the whole blob") from error
        return {name: _view(data, layout[name]) for name in layout.order}


def _raw(array: NDArray[Any], dtype: "np.dtype[Any]") -> memoryview:
    # numpy's bfloat16 and float8 arrays export no buffer; their bytes do
    return np.asarray(array, dtype=dtype, order="C").reshape(-1).view(np.uint8).data


def _view(data: bytes | memoryview, tensor: Tensor) -> NDArray[Any]:
    raw = np.frombuffer(data, np.uint8, tensor.nbytes, tensor.offset)
    if tensor.dtype == np.bool_ and raw.size and raw.max() > 1:
        raise BadBlob(Reason.BAD_FORMAT, f"{tensor.name} is BOOL and holds bytes other than 0 and 1")
    return raw.view(tensor.dtype).reshape(tensor.shape)
