"""Codecs: bytes ↔ named arrays. Defined with the protocol, because clients load them without a kernel."""

from fedk_protocol.codec import Arrays, Codec, Layout, Safetensors, Tensor

__all__ = ["Arrays", "Codec", "Layout", "Safetensors", "Tensor"]
