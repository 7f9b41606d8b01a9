from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fedk.state.store import Store
from fedk_plugin_sqlite import Sqlite, SqliteConfig


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def database() -> Sqlite:
    return Sqlite(SqliteConfig(busy_timeout=0.01))


@pytest.fixture
async def store(database: Sqlite, data_dir: Path) -> AsyncIterator[Store]:
    store = await Store.open(database, data_dir, owner="test")
    yield store
    await store.close()
