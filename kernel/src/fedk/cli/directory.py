"""A data directory without its server: REST's application over rows and blobs that are only read."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from fedk.admin import admin_app
from fedk.api.errors import FedkError
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.rounds.budget import Budget
from fedk.rounds.loaded import Aggregators, Loaded
from fedk.rounds.replay import Replays
from fedk.rounds.rules import VERSION, Rules
from fedk.settings import Configuration, Settings, load
from fedk.state.lock import NAME as LOCK
from fedk.state.store import Store

_OF_A_SERVER = (LOCK, "fedk.sqlite", "blobs")
"""One of these is in a data_dir that was used, or is a copy of one."""


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[Starlette]:
    """FedkError while a server has it: the message says where to ask."""
    found, settings = _settings(data_dir)
    catalogue = Catalogue.scan(disabled=settings.plugins.disabled, allow=settings.plugins.allow)
    database = catalogue.create("db", settings.db.use, settings.db.tables, where=found.source("db", "use"))
    store = await Store.open_read_only(database, data_dir, rules_version=VERSION)
    try:
        storage = settings.storage
        driver = catalogue.create("storage", storage.use, storage.tables, where=found.source("storage", "use"))
        blobs = Blobs(driver, data_dir)
        await blobs.start()
        try:
            replays = Replays(store, blobs, _aggregators(catalogue), Budget(settings.limits.accumulators))
            yield admin_app(
                store=store, blobs=blobs, catalogue=catalogue, desk=None, settings=settings, replays=replays
            )
        finally:
            await blobs.close()
    finally:
        await store.close()


def _aggregators(catalogue: Catalogue) -> Aggregators:
    def loaded(rules: Rules) -> Loaded:
        from fedk.app import Aggregators as OfCatalogue  # the whole server: 0.3 s that only a replay waits for

        return OfCatalogue(catalogue)(rules)

    return loaded


def _settings(data_dir: Path) -> tuple[Configuration, Settings]:
    """Those of fedk.toml for its own directory; any other was made by `fedk run`, with the embedded defaults."""
    if not data_dir.is_dir():
        raise FedkError(f"no directory {data_dir} (in {Path.cwd()}): give the data_dir of a server or of fedk run")
    if not any((data_dir / name).exists() for name in _OF_A_SERVER):
        inside = [str(one.parent) for one in sorted(data_dir.glob(f"*/{LOCK}"))]
        near = f" In it: {', '.join(inside)}." if inside else ""
        raise FedkError(f"{data_dir} is no data_dir: no server and no fedk run has used it.{near}")
    found = load(None, os.environ)
    if data_dir.resolve() == found.settings.server.data_dir.resolve():
        return found, found.checked()
    return found, Settings.model_validate({"server": {"data_dir": data_dir}})
