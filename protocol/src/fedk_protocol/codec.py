"""Codecs: bytes ↔ named arrays; the native one, safetensors; and those in which updates travel smaller.

A codec plugin imports this module alone: clients load codecs without a kernel. A codec never executes what it reads.
"""

from fedk_protocol.blocks import BLOCK, BlockCodec, Buffer, Source, Unpacking, elements, in_blocks
from fedk_protocol.header import read_layout
from fedk_protocol.layout import (
    DTYPES,
    HEADER_MAX,
    BadBlob,
    Layout,
    NeedMore,
    Shaped,
    Spec,
    Tensor,
    layout_of,
)
from fedk_protocol.native import Arrays, Codec, Safetensors
from fedk_protocol.reasons import Reason

__all__ = [
    "BLOCK",
    "DTYPES",
    "HEADER_MAX",
    "Arrays",
    "BadBlob",
    "BlockCodec",
    "Buffer",
    "Codec",
    "Layout",
    "NeedMore",
    "Reason",
    "Safetensors",
    "Shaped",
    "Source",
    "Spec",
    "Tensor",
    "Unpacking",
    "elements",
    "in_blocks",
    "layout_of",
    "read_layout",
]
