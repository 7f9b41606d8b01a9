from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fedk.testing import site as testing
from fedk.testing.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A server in this process, with an empty data directory."""
    async with testing.site(tmp_path / "data") as here:
        yield here
