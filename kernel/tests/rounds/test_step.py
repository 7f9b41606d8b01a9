"""A round that closes: its model is made in the batch that closes it where that is soon done, and after it otherwise."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select

from fedk.api.codec import Safetensors
from fedk.api.errors import StateError
from fedk.rounds import batch
from fedk.rounds.folds import Folds
from fedk.rounds.inbox import Entry
from fedk.rounds.ledger import Writes
from fedk.state import tables as t
from fedk.state.store import Store
from fedk.testing.site import Play, Site, site

ROUNDS = 3


async def trained(here: Site, **rules: Any) -> float:
    """What three clients, who add 1, 2 and 3, have made of a weight of 0."""
    for n in range(3):
        await here.players.join(f"c{n}", Play(add=n + 1.0))
    await here.start(until="session.finished", clients={"min": 3}, rounds=ROUNDS, **rules)
    bytes_ = (await here.rest.get(f"/api/v1/models/digits-1/{ROUNDS}/content")).content
    return float(Safetensors().decode(bytes_)["w"][0])


def inserts(work: Any) -> Collection[Table]:
    """Into which tables a transaction puts new rows."""
    book = getattr(work, "__self__", None)
    return book.inserts if isinstance(book, Writes) else ()


@pytest.mark.parametrize("soon", [60.0, 0.0])
async def test_a_model_is_the_same_whether_it_is_made_in_its_batch_or_after_it(
    soon: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, write = list[bool](), Store.write

    async def looking(store: Store, work: Any, **more: Any) -> Any:
        if t.results in (written := inserts(work)):
            models.append(t.models in written)
        return await write(store, work, **more)

    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(batch, "SOON", soon)
        monkeypatch.setattr(Store, "write", looking)
        assert await trained(here, validation={"every": 0}) == 2.0 * ROUNDS
        assert here.runner.spool.used("default") == 0
    assert models == [soon > 0] * ROUNDS


@pytest.mark.parametrize("soon", [60.0, 0.0])
@pytest.mark.parametrize("table", [t.results, t.contributions], ids=["results", "model"])
async def test_a_transaction_that_fails_takes_its_model_with_it_and_the_round_is_made_again(
    soon: float, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No result is lost, and none is kept in vain: clients deliver again what is not in the rows."""
    write, failed = Store.write, list[Table]()

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if failed or table not in inserts(work):
            return await write(store, work, **more)
        failed.append(table)
        if (after := more.get("after")) is not None:
            after.close()
        raise StateError("the disk is full")

    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(batch, "SOON", soon)
        monkeypatch.setattr(Store, "write", failing)
        assert await trained(here, validation={"every": 0}) == 2.0 * ROUNDS
        assert failed == [table]
        assert here.runner.spool.used("default") == 0


NOISE = {"use": "fedavg", "wrap": ["central-dp"], "central-dp": {"noise_multiplier": 1.0, "clip": 0.5}}


@pytest.mark.parametrize(("aggregator", "paid"), [({"use": "fedavg"}, 0), (NOISE, 1)])
async def test_noise_is_paid_for_before_it_is_drawn(
    aggregator: dict[str, Any], paid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, made = list[int](), Folds.made

    async def looking(folds: Folds, *args: Any) -> Entry:
        async with folds.store.reading() as db:
            found.append((await db.scalars(select(t.sessions.c.folds))).one())
        return await made(folds, *args)

    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(Folds, "made", looking)
        await trained(here, aggregator=aggregator)
    assert found == [n + paid for n in range(ROUNDS)]
