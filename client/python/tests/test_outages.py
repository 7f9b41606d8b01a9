"""While the server is away nothing is lost: what a client has made and nobody has heard."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client.python.tests.held import Held
from client.python.tests.test_connection import COMMITTED, Lines, Start, app_of, model, settled, task

from fedk.testing.protocol import ScriptedServer
from fedk_client import Task
from fedk_protocol.v1 import federation_pb2 as pb


async def test_a_server_that_dies_gets_the_kept_result_again_when_it_is_back(
    server: ScriptedServer, start: Start, lines: Lines
) -> None:
    running = start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    await server.stop()
    await server.start()
    client = await server.connection()
    (kept,) = client.hello.outbox
    assert (kept.task, kept.result_id) == ("t1", result.result_id)
    await client.welcome()
    await client.send(send_from=pb.SendFrom(task="t1", result_id=result.result_id))
    assert await client.next("result") == result
    await client.receipt(result)
    await client.verdict(result, COMMITTED, model="s/7")
    await settled(client, running)
    joined, trained, lost, again = lines.all
    assert joined.startswith("joined as a (instance ")
    assert joined.endswith("), nothing to do yet")
    assert trained.startswith("s round 7 train, 4 examples, loss 0.500, 0.0")
    assert lost.startswith("server lost, 1 result kept, next try in ")
    assert again == "joined again, result redelivered, receipt"


async def test_more_results_than_a_hello_lists_are_sent_after_it(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server ends the stream of whoever lists too many, and nobody would dial again."""
    monkeypatch.setattr("fedk_client.desk.LISTED", 2)
    start(app_of(), server.address)
    client = await server.joined()
    for n in range(3):
        await client.send(task=task(server, id=f"t{n}"))
        await client.next("result")
    client.cut()
    client = await server.connection()
    assert [kept.task for kept in client.hello.outbox] == ["t0", "t1"]
    await client.welcome()
    assert (await client.next("result")).task == "t2"


async def test_a_large_result_goes_on_where_the_dead_server_had_it(server: ScriptedServer, start: Start) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    await client.send(task=task(server, data=model(100_000)))
    uploaded = await server.uploaded()
    await server.stop()
    uploaded.whole = False
    del uploaded.data[500_000:]
    await server.start()
    client = await server.joined()
    (kept,) = client.hello.outbox
    await client.send(send_from=pb.SendFrom(task=kept.task, result_id=kept.result_id, offset=500_000))
    assert (await server.uploaded()).offsets == [0, 500_000]


async def test_work_goes_on_while_the_server_is_away(server: ScriptedServer, start: Start) -> None:
    work = Held()
    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(work.begun.wait)
    client.cut()
    client = await server.connection()
    assert list(client.hello.working) == ["t1"]
    await client.welcome()
    await client.send(task=task(server))  # comes again: it is not begun again
    work.go_on.set()
    assert (await client.next("result")).task == "t1"
    await client.send(task=task(server))  # and now the kept result is sent
    assert (await client.next("result")).task == "t1"


async def test_a_result_made_while_nobody_was_there_is_listed_or_sent(server: ScriptedServer, start: Start) -> None:
    work = Held()
    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(work.begun.wait)
    client.cut()
    client = await server.connection()
    work.go_on.set()  # the Hello has been said, Welcome has not
    await client.send(drain=pb.Drain())
    await client.welcome()
    assert (await client.next("result")).task == "t1"


async def test_a_failure_that_nobody_could_hear_is_said_later(
    server: ScriptedServer, start: Start, lines: Lines
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(_task: Task[None]) -> None:
        begun.set()
        go_on.wait()
        raise KeyError

    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(begun.wait)
    await server.stop()
    await lines.said("server lost")
    go_on.set()
    await lines.said("train of s round 7 failed")
    await server.start()
    client = await server.connection()
    assert list(client.hello.working) == ["t1"]
    await client.welcome()
    assert (await client.next("failure")).reason == "raised"


async def test_state_moves_only_on_committed_over_the_wire(server: ScriptedServer, start: Start) -> None:
    seen: list[list[float]] = []

    def work(asked: Task[None]) -> dict[str, Any]:
        seen.append(asked.state["c"].tolist() if asked.state else [])
        return {"c": np.array([float(asked.round)])}

    start(app_of(work=work), server.address)
    client = await server.joined()
    for number, outcome in (
        (1, pb.OUTCOME_REJECTED),
        (2, COMMITTED),
        (3, pb.OUTCOME_LOST),
        (4, COMMITTED),
        (5, COMMITTED),
    ):
        await client.send(task=task(server, f"t{number}", round=number))
        result = await client.next("result")
        await client.verdict(result, outcome)
    assert seen == [[], [], [2.0], [2.0], [4.0]]


async def test_a_new_process_with_the_state_directory_redelivers(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    first = start(app_of(), server.address, state=tmp_path)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    stopping = asyncio.create_task(asyncio.to_thread(first.stop))
    await client.next("goodbye")
    await stopping
    second = start(app_of(), server.address, state=tmp_path)
    client = await server.joined()
    (kept,) = client.hello.outbox
    assert kept.result_id == result.result_id
    await client.send(send_from=pb.SendFrom(task="t1", result_id=kept.result_id))
    assert await client.next("result") == result
    await client.verdict(result, COMMITTED)
    await settled(client, second)
