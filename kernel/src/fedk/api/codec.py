"""Codecs: bytes ↔ named arrays. Defined with the protocol, because clients load them without a kernel."""

from fedk_protocol.codec import Arrays, BlockCodec, Buffer, Codec, Layout, Safetensors, Source, Tensor, Unpacking

__all__ = ["Arrays", "BlockCodec", "Buffer", "Codec", "Layout", "Safetensors", "Source", "Tensor", "Unpacking"]
