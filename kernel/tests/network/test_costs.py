"""What a round costs, counted: whatever the number of clients, and whatever else they are asked for."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kernel.tests.network.conftest import House, opened, weights
from sqlalchemy import event
from sqlalchemy.engine import Engine

from fedk.api.codec import Safetensors
from fedk.network import download, member
from fedk.network.member import Member
from fedk.network.messages import Tasks
from fedk.network.stream import Stream
from fedk.rounds import door, inbox
from fedk.state.store import Store
from fedk.testing.protocol import ScriptedClient

MEGABYTE = 250_000
"""Weights of a model of 1 MB."""

CHUNKS = 2
"""That it is downloaded in: 512 KiB each."""


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Of this process, from here on."""
    found: Counter[str] = Counter()

    def counted(owner: Any, name: str, what: str) -> None:
        call = getattr(owner, name)

        def instead(*args: Any, **kwargs: Any) -> Any:
            found[what] += 1
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, instead)

    counted(Store, "write", "transactions")
    counted(os, "fsync", "fsyncs")
    counted(Tasks, "message", "tasks")
    counted(Member, "reply", "receipts and verdicts")
    counted(Member, "_hear", "results")
    counted(Stream, "_send", "messages")
    counted(download, "chunk", "chunks put together")

    def executed(*_: object) -> None:
        found["statements"] += threading.current_thread().name.startswith("fedk-rows")  # the writer's

    # results of one round wait for all others, however slow this machine is just now
    monkeypatch.setattr(door, "COMPANY", 60.0)
    monkeypatch.setattr(door, "LINGER", 60.0)
    monkeypatch.setattr(inbox, "ASIDE", 60.0)
    monkeypatch.setattr(member, "RECEIPT", 60.0)
    event.listen(Engine, "before_cursor_execute", executed)
    yield found
    event.remove(Engine, "before_cursor_execute", executed)


@asynccontextmanager
async def crowd(house: House, clients: int) -> AsyncIterator[None]:
    """So many, who download what they are given, and answer with another model each round."""
    members = [await house.joined(f"c{n}", also=True) for n in range(clients)]
    work = [asyncio.create_task(training(member)) for member in members]
    try:
        yield
    finally:
        for task in work:
            task.cancel()
        await asyncio.wait(work)


async def training(member: ScriptedClient) -> None:
    while True:
        task = await member.next("task")
        given = Safetensors().decode(await member.fetch(task.inputs["model"]))
        await member.answer(task, {"model": weights(float(task.seed % 1_000), given["w"].size)})


async def ended(house: House, clients: int, rounds: int, size: int = 4) -> None:
    name = f"s{clients}-{rounds}-{size}"
    await house.session(name, size=size, rounds=rounds, clients={"min": clients})
    await house.event("session.finished")


def folders(data: Path) -> int:
    """Of blobs, by how their hashes begin."""
    return len(list(data.rglob("blobs/*/*")))


async def cost(house: House, counts: Counter[str], clients: int, folder: Path, size: int = 4) -> dict[str, float]:
    """Of one round: what five have more than two, after a session that has made the folders. A model whose hash begins
    as none before has a new folder, whose name is synced too: that is left out.
    """
    async with crowd(house, clients):
        found = []
        for rounds in (1, 2, 5):
            before = folders(folder)
            counts.clear()
            await ended(house, clients, rounds, size)
            counts["fsyncs"] -= folders(folder) - before
            found.append(Counter(counts))
    return {what: (found[2][what] - found[1][what]) / 3 for what in found[2]}


@pytest.mark.parametrize("clients", [1, 12])
async def test_a_small_round_is_one_transaction_and_one_message_to_each_client(
    tmp_path: Path, counts: Counter[str], clients: int
) -> None:
    async with opened(tmp_path) as house:
        spent = await cost(house, counts, clients, tmp_path)
    assert spent == {
        "fsyncs": 2,  # the model and its folder: what is in it need not last by itself
        "transactions": 1,
        "statements": 15,
        "tasks": clients,
        "messages": clients,  # the verdict of one round with the task of the next
        "results": clients,
        "receipts and verdicts": clients,
    }


@pytest.mark.parametrize("clients", [1, 3])
async def test_a_model_is_read_and_put_together_once_for_all_who_download_it(
    tmp_path: Path, counts: Counter[str], clients: int
) -> None:
    async with opened(tmp_path) as house:
        spent = await cost(house, counts, clients, tmp_path, MEGABYTE)
    assert spent["chunks put together"] == CHUNKS
