"""Bytes that are made again against those that were recorded: which tensor differs first, where, and how far."""

from pathlib import Path

import numpy as np
import pytest

from fedk.aggregation.comparison import Comparison
from fedk.aggregation.model import Model
from fedk.api.codec import Safetensors
from fedk.blobs.reader import Span

SIZE = 300_000
"""float64s: several pieces."""


def tensors() -> dict[str, np.ndarray]:
    return {
        "a": np.linspace(-1, 1, SIZE),
        "b": np.linspace(0, 1, 5).astype(np.float32),
        "c": np.array([True, False]),
        "n": np.array(7),
    }


def compared(folder: Path, data: bytes, piece: int = 1 << 20) -> list[str]:
    """With what is recorded."""
    recorded = Safetensors().dumps(tensors())
    (folder / "recorded").write_bytes(recorded)
    with Model.open(Span(str(folder / "recorded"), 0, len(recorded))) as model:
        header = len(model.layout.header)
        comparison = Comparison(model)
        comparison.write(data[:header])
        for at in range(header, len(data), piece):
            comparison.write(memoryview(data)[at : at + piece])
        return [str(one) for one in comparison.differences]


def changed(name: str, at: int, by: float) -> bytes:
    other = tensors()
    other[name] = other[name].copy()
    other[name].reshape(-1)[at] += by
    return Safetensors().dumps(other)


@pytest.mark.parametrize("piece", [1 << 20, 1 << 12])
def test_equal_bytes_show_nothing(tmp_path: Path, piece: int) -> None:
    assert compared(tmp_path, Safetensors().dumps(tensors()), piece) == []


@pytest.mark.parametrize(
    ("name", "at", "by", "said"),
    [
        ("a", SIZE - 1, 0.25, "a differs in 1 of 300,000 elements, by 0.25"),
        ("b", 4, 0.5, "b differs in 1 of 5 elements, by 0.5"),
        ("c", 1, 1, "c differs in 1 of 2 elements, by 1"),
        ("n", 0, -2, "n differs in its element, by 2"),
    ],
)
def test_one_element_is_found(tmp_path: Path, name: str, at: int, by: float, said: str) -> None:
    assert compared(tmp_path, changed(name, at, by)) == [said]


def test_the_farthest_of_several_is_told(tmp_path: Path) -> None:
    other = tensors()
    other["a"][[3, SIZE // 2, SIZE - 3]] += [0.125, -2.0, 0.5]
    assert compared(tmp_path, Safetensors().dumps(other), 1 << 16) == [
        "a differs in 3 of 300,000 elements, by 2 at most"
    ]


def test_a_negative_zero_is_another_number(tmp_path: Path) -> None:
    other = tensors()
    other["b"][0] = -0.0
    assert compared(tmp_path, Safetensors().dumps(other)) == ["b differs in 1 of 5 elements, by 0"]


@pytest.mark.parametrize("data", [Safetensors().dumps(tensors())[:-8], Safetensors().dumps(tensors()) + b"12345678"])
def test_another_length_is_seen(tmp_path: Path, data: bytes) -> None:
    assert compared(tmp_path, data) == ["its layout differs"]


def test_another_header_is_seen_first(tmp_path: Path) -> None:
    other = {("z" if name == "n" else name): value for name, value in tensors().items()}
    assert compared(tmp_path, Safetensors().dumps(other))[0] == "its layout differs"
