"""Making a model: ahead of the round's end, and again where bytes are gone."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedk.aggregation.composition import begin
from fedk.aggregation.contribution import Contribution
from fedk.aggregation.model import Model
from fedk.aggregation.state import first_state
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Round, Update
from fedk.api.codec import Safetensors
from fedk.api.errors import BlobError
from fedk.blobs.reader import Span
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.rounds.budget import Budget
from fedk.rounds.making import Made, Making

VIEW = Round(1, 3, 3)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    opened = Blobs(Catalogue.scan().create("storage", "local"), tmp_path)
    await opened.start()
    yield opened
    await opened.close()


def span(folder: Path, name: str, value: float) -> Span:
    data = Safetensors().dumps({"w": np.full(100_000, value)})
    (folder / name).write_bytes(data)
    return Span(str(folder / name), 0, len(data))


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Model]:
    with Model.open(span(tmp_path, "base", 0.0)) as model:
        yield model


@pytest.fixture
def updates(base: Model, tmp_path: Path) -> dict[str, Contribution]:
    """1, 2 and 6."""
    found = {}
    for value in (1.0, 2.0, 6.0):
        key = f"k{value:g}"
        found[key] = Contribution(Update(key, key, 1), Terms(1.0), {"model": span(tmp_path, key, value)}, base)
    return found


def making(base: Model, use: str, memory: Budget | None = None) -> Making:
    aggregator = Catalogue.scan().create("aggregator", use)
    return Making(lambda: begin(aggregator, base, first_state(aggregator), VIEW), memory or Budget(2**30))


async def value_of(made: Made, blobs: Blobs) -> float:
    with Model.open(await blobs.span("p", made.model.sha256)) as model:
        found: float = Safetensors().decode(model.reader.read(0, model.reader.size))["w"][7]
    return found


Updates = dict[str, Contribution]


@pytest.mark.parametrize(("use", "wanted"), [("fedavg", 3.0), ("fedmedian", 2.0)])
async def test_what_was_taken_ahead_is_used(
    blobs: Blobs, base: Model, updates: Updates, use: str, wanted: float
) -> None:
    work = making(base, use)
    for update in list(updates.values())[:2]:
        work.add(update)
    assert await value_of(await work.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == wanted


@pytest.mark.parametrize("use", ["fedavg", "fedmedian"])
async def test_what_was_taken_ahead_and_is_not_wanted_is_left_out(
    blobs: Blobs, base: Model, updates: Updates, use: str
) -> None:
    work = making(base, use)
    for update in updates.values():
        work.add(update)
    del updates["k6"]
    assert await value_of(await work.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 1.5


@pytest.mark.parametrize("ahead", [3, 0])
@pytest.mark.parametrize("use", ["fedavg", "fedmedian"])
async def test_after_bytes_are_gone_it_is_made_of_the_others(
    blobs: Blobs, base: Model, updates: Updates, use: str, ahead: int
) -> None:
    work = making(base, use)
    os.truncate(updates["k6"].blobs["model"].path, 1_000)
    for update in list(updates.values())[:ahead]:
        work.add(update)
    with pytest.raises(BlobError, match="truncated"):
        await work.finish(updates, [], "p", blobs.hold(), VIEW)
    del updates["k6"]
    assert await value_of(await work.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 1.5


async def test_without_memory_to_spare_nothing_is_folded_ahead_and_the_model_is_the_same(
    blobs: Blobs, base: Model, updates: Updates
) -> None:
    memory = Budget(1_500_000)
    first, second = making(base, "fedavg", memory), making(base, "fedavg", memory)
    for work in (first, second):
        for update in updates.values():
            work.add(update)
        assert work._worker is not None
        await work._worker
    assert (memory.held, second._folding) == (800_000, None)
    assert await value_of(await first.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 3.0
    assert await value_of(await second.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 3.0
    assert memory.held == 0


async def test_who_folds_ahead_gives_way_to_a_model_that_is_made_now(
    blobs: Blobs, base: Model, updates: Updates
) -> None:
    memory = Budget(1_500_000)
    ahead, now = making(base, "fedavg", memory), making(base, "fedavg", memory)
    ahead.add(updates["k1"])
    assert ahead._worker is not None
    await ahead._worker
    assert await value_of(await now.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 3.0
    assert ahead._folding is None
    assert await value_of(await ahead.finish(updates, [], "p", blobs.hold(), VIEW), blobs) == 3.0


async def test_ten_models_at_once_are_made_one_after_the_other_where_there_is_memory_for_one(
    blobs: Blobs, base: Model, updates: Updates
) -> None:
    memory, most = Budget(100), 0
    works = [making(base, "fedavg", memory) for _ in range(10)]

    async def made(work: Making) -> float:
        nonlocal most
        for update in updates.values():
            work.add(update)
        found = await work.finish(updates, [], "p", blobs.hold(), VIEW)
        most = max(most, memory.held)
        return await value_of(found, blobs)

    assert await asyncio.gather(*map(made, works)) == [3.0] * 10
    assert most <= 800_000  # larger than the limit, and alone
    assert memory.held == 0
