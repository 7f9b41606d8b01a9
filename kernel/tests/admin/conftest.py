import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fedk.testing import site as testing
from fedk.testing.site import Site


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with tables and nothing in them."""
    directory = tmp_path_factory.mktemp("prepared") / "data"
    testing.prepare(directory)
    return directory


@pytest.fixture
async def site(tmp_path: Path, prepared: Path) -> AsyncIterator[Site]:
    """A server in this process, with an empty data directory."""
    shutil.copytree(prepared, tmp_path / "data")
    async with testing.site(tmp_path / "data") as here:
        yield here
