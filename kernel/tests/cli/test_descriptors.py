"""A server may have as many connections as its machine lets it."""

import resource
from collections.abc import Iterator

import pytest

from fedk.cli import descriptors


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    found = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield found
    resource.setrlimit(resource.RLIMIT_NOFILE, found)


def test_a_low_limit_is_raised_to_what_is_allowed(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert descriptors.allow() == (descriptors.WANTED if hard < 0 else min(hard, descriptors.WANTED))


def test_a_limit_is_never_lowered(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "WANTED", 64)
    assert descriptors.allow() == limits[0]
