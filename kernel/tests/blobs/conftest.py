import os
from pathlib import Path

import pytest


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths in the order in which they were really synced."""
    paths: list[str] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        fsync(handle)
        paths.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    monkeypatch.setattr(os, "fsync", recorded)
    return paths
