"""Memory of large models in a client: used again by the next round, and given back when there is none."""

import asyncio

import pytest
from client.python.tests.test_connection import COMMITTED, Start, app_of, model, settled, task

from fedk.testing.protocol import Connection, ScriptedServer
from fedk_client.loop import submit
from fedk_protocol import rooms
from fedk_protocol.rooms import LEAST, ROOMS


async def test_a_client_without_a_task_keeps_no_memory_of_large_models(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "REST", 0.0)
    monkeypatch.setattr(ROOMS, "_rooms", [])  # without what other tests have left
    size = LEAST // 8
    running = start(app_of(size), server.address)
    client = await server.joined()
    for number in (1.0, 2.0):
        await client.send(task=task(server, f"t{number}", data=model(size, number)))
        uploaded = await server.uploaded()
        assert ROOMS.nbytes > 0, "the result is kept"
        await client.verdict(uploaded.result, COMMITTED)
    await let_go(server, client)
    await settled(client, running)
    await asyncio.wrap_future(submit(_some_turns()))
    assert ROOMS.nbytes == 0
    assert len(running._connection._desk.inputs) == 0


async def test_each_large_round_stands_where_the_last_one_stood(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ROOMS, "_rooms", [])  # without what other tests have left
    running, size = start(app_of(LEAST), server.address), 8 * LEAST
    client, let = await server.joined(), []
    for number in (1.0, 2.0, 3.0):
        await client.send(task=task(server, f"t{number}", data=model(LEAST, number), before=["validate"]))
        await client.verdict((await server.uploaded()).result, COMMITTED)
        await let_go(server, client)
        await settled(client, running)
        let.append([id(room) for room in ROOMS._rooms])
    assert let[0] == let[1] == let[2], "those of the download, of the model and of the result"
    assert 3 * size < ROOMS.nbytes < 3.1 * size


async def let_go(server: ScriptedServer, client: Connection) -> None:
    """The thread of user code looks no more at what it was asked before, nor at its answer: it has come to this task, whose
    model fits nothing.
    """
    await client.send(task=task(server, "small", data=model(1)))
    assert (await client.next("failure")).task == "small"


async def _some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
