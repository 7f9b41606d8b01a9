"""Whatever a server says, its clients live, stay within bounds, and keep what has no verdict."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from client.python.tests.held import Held
from client.python.tests.test_connection import COMMITTED, Lines, Start, app_of, model, settled, task

from fedk.testing.protocol import ScriptedServer
from fedk_client import Task
from fedk_client.assignment import Assignment
from fedk_client.transfer import SERVICE
from fedk_protocol.v1 import federation_pb2 as pb

NAN, INFINITE, MOST = float("nan"), float("inf"), 2**64 - 1


class Garbling(ScriptedServer):
    """Its downloads bring what is no message."""

    async def start(self) -> None:
        self._server = grpc.aio.server()
        read, write = pb.ClientMessage.FromString, pb.ServerMessage.SerializeToString
        calls = {
            "Connect": grpc.stream_stream_rpc_method_handler(self.Connect, read, write),
            "Download": grpc.unary_stream_rpc_method_handler(self._garbage),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def _garbage(self, _request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff"


async def test_a_chunk_that_is_no_message_is_a_failure_of_its_task(start: Start) -> None:
    async with Garbling() as server:
        start(app_of(100_000), server.address)
        client = await server.joined()
        await client.send(task=task(server, data=model(100_000)))
        failure = await client.next("failure")
        assert (failure.task, failure.reason) == ("t1", "bad-hash")


@pytest.mark.parametrize("limit", [1, 2**31, 2**63, MOST])
@pytest.mark.parametrize("name", ["chunk", "inline_max", "message_max"])
async def test_absurd_limits_do_not_keep_a_result_from_its_server(
    server: ScriptedServer, start: Start, tmp_path: Any, name: str, limit: int
) -> None:
    start(app_of(700_000), server.address, state=tmp_path)
    client = await server.joined(limits=pb.Limits(**{name: limit}))
    await client.send(task=task(server, data=model(700_000)))
    uploaded = await server.uploaded()
    assert uploaded.result.task == "t1"


@pytest.mark.parametrize("seconds", [NAN, INFINITE, -INFINITE, -1.0, 1e300])
async def test_absurd_delays_do_not_keep_a_client_away(server: ScriptedServer, start: Start, seconds: float) -> None:
    running = start(app_of(), server.address)
    await server.joined(reconnect_base=seconds, reconnect_cap=seconds)
    shortest, longest = running._connection._desk.delays
    assert 0 < shortest <= longest <= 3_600


@pytest.mark.parametrize("seconds", [NAN, INFINITE, -1.0])
async def test_an_absurd_deadline_does_not_keep_user_code_from_its_task(
    server: ScriptedServer, start: Start, seconds: float
) -> None:
    left: list[float] = []
    start(app_of(work=lambda asked: left.append(asked.remaining)), server.address)
    client = await server.joined()
    await client.send(task=task(server, remaining=seconds))
    assert (await client.next("result")).task == "t1"
    assert left[0] == left[0]


async def test_what_is_to_be_done_before_is_done_once(server: ScriptedServer, start: Start) -> None:
    asked: list[str] = []
    app = app_of()
    validate = app.function("validate")

    @app.validate
    def _counted(net: Any, one: Task[None]) -> Any:
        asked.append(one.kind)
        return validate(net, one)

    start(app, server.address)
    client = await server.joined()
    await client.send(task=task(server, before=["validate"] * 1_000))
    assert (await client.next("result")).before["validate"].num_examples == 2
    assert asked == ["validate"]


@pytest.mark.parametrize("settings", ["{", "[1]", "null", "7", '{"a": ' + "[" * 100_000, '{"a": ' + "9" * 5_000 + "}"])
async def test_settings_that_are_no_object_are_named_and_the_client_stays(
    server: ScriptedServer, start: Start, settings: str
) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server, settings=settings))
    failure = await client.next("failure")
    assert failure.detail.startswith("the task's settings are not a JSON object")
    await client.send(task=task(server, "t2"))
    assert (await client.next("result")).task == "t2"


@pytest.mark.parametrize("seed", [0, 2**32, 2**63, MOST])
async def test_any_seed_is_taken(server: ScriptedServer, start: Start, seed: int) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server, seed=seed))
    assert (await client.next("result")).task == "t1"


async def test_verdicts_on_what_was_never_asked_change_nothing(server: ScriptedServer, start: Start) -> None:
    running = start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await client.next("result")
    for words in ({"task": "t2"}, {"result_id": "x"}, {}):
        await client.send(verdict=pb.Verdict(**words, outcome=COMMITTED))
        await client.send(receipt=pb.Receipt(**words))
        await client.send(send_from=pb.SendFrom(**words, offset=MOST))
        await client.send(cancel=pb.Cancel(task=words.get("task", "")))
    await client.send(task=pb.Task(id="later", kind="predict"))
    await client.next("failure")
    assert [kept.task for kept in running._outbox] == ["t1"]


async def test_a_client_that_nobody_reads_hears_no_more_than_it_can_answer(
    start: Start, server: ScriptedServer
) -> None:
    """Each word asks for a copy of the result: they would fill the memory of a client whose server reads nothing."""
    running = start(app_of(5_000), server.address)
    client = await server.joined()
    await client.send(task=task(server, data=model(5_000)))
    result = await client.next("result")
    stream = running._connection._conversation._stream  # type: ignore[union-attr]
    most, put = [0], stream._put

    def counted(message: Any, **how: bool) -> None:
        put(message, **how)
        most[0] = max(most[0], len(stream._queue))

    stream._put = counted  # type: ignore[method-assign]
    word = pb.ServerMessage(send_from=pb.SendFrom(task="t1", result_id=result.result_id))
    await client.send_together(*[pb.ServerMessage.FromString(word.SerializeToString()) for _ in range(2_000)])
    for _ in range(2_000):
        await client.next("result")
    assert most[0] < 50


async def test_more_tasks_than_a_client_works_on_are_not_taken(server: ScriptedServer, start: Start) -> None:
    work = Held()
    start(app_of(work=work), server.address)
    client = await server.joined()
    for n in range(100):
        await client.send(task=task(server, f"t{n}"))
    failure = await client.next("failure")
    work.go_on.set()
    assert (failure.task, failure.reason) == ("t16", "not-supported")
    assert failure.detail == "16 tasks are at hand, and this client does one at a time"


async def test_what_a_cancelled_task_brought_is_gone_while_user_code_has_another(
    server: ScriptedServer, start: Start
) -> None:
    work = Held()
    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(work.begun.wait)
    for n in range(20):
        await client.send(task=task(server, f"x{n}"))
        await client.send(cancel=pb.Cancel(task=f"x{n}"))
        await client.next("failure")
    held = [one.id for one in gc.get_objects() if isinstance(one, Assignment)]
    work.go_on.set()
    await client.next("result")
    assert not [id_ for id_ in held if id_.startswith("x")]


async def test_a_failure_is_short_whatever_user_code_says(server: ScriptedServer, start: Start) -> None:
    """A server ends the stream of whoever sends more than 4 MiB, and would ask the same again."""

    def work(_task: Task[None]) -> None:
        raise ValueError("x" * 5_000_000)

    start(app_of(work=work), server.address, share_errors=True)
    client = await server.joined()
    await client.send(task=task(server))
    assert len((await client.next("failure")).detail) <= 10_000


async def test_a_servers_words_reach_the_log_as_one_short_line(
    server: ScriptedServer, start: Start, lines: Lines
) -> None:
    work = Held()
    running = start(app_of(work=work), server.address)
    client = await server.joined()
    bad = "\x1b[2J\n12:00:00 all is well" + "x" * 100_000
    await client.send(task=task(server, session=bad))
    await asyncio.to_thread(work.begun.wait)
    await client.send(drain=pb.Drain(reason=bad))
    await client.send(drain=pb.Drain(reason=bad))
    work.go_on.set()
    result = await client.next("result")
    await client.verdict(result, pb.OUTCOME_REJECTED, reason=bad, detail=bad)
    await settled(client, running)
    assert sum("about to stop" in line for line in lines.all) == 1
    for line in lines.all:
        assert line.isprintable()
        assert len(line) < 2_000


async def test_a_second_welcome_is_none(server: ScriptedServer, start: Start, lines: Lines) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await client.next("result")
    for _ in range(3):
        await client.welcome()
    await client.send(task=task(server, "t2"))
    assert (await client.next("result")).task == "t2"
    assert sum("joined" in line for line in lines.all) == 1


async def test_inputs_that_are_more_than_this_machine_has_room_for_are_not_waited_for(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedk_client.transfer.ROOM", 1_500_000)
    start(app_of(), server.address)
    client = await server.joined()
    blobs = {name: server.offer(model(100_000, value)) for name, value in (("model", 1.0), ("control", 2.0))}
    await client.send(task=task(server, inputs=blobs))
    failure = await client.next("failure")
    assert failure.reason == "bad-hash"
    assert "there is no memory" in failure.detail


async def test_an_address_that_is_none_is_not_dialled(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    bad = ["", "\x00", "unix:/etc/passwd", "xds:///x:1", "a" * 100_000 + ":1", *["127.0.0.1:1"] * 100_000]
    await (await server.joined()).send(redirect=pb.Redirect(addresses=bad, ticket="\n"))
    assert await server.joined()
    (located,) = server.locates
    assert list(located.unreachable) == ["127.0.0.1:1"]


async def test_a_server_that_never_judges_gets_failures_and_nothing_kept_is_lost(
    server: ScriptedServer, start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedk_client.shelf.ROOM", 100)
    running = start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    await client.send(task=task(server, "t2"))
    assert (await client.next("failure")).reason == "raised"
    await lines.said("a state directory would keep them on disk")
    assert [kept.task for kept in running._outbox] == ["t1"]
    await client.verdict(result, COMMITTED)
    await client.send(task=task(server, "t3"))
    assert (await client.next("result")).task == "t3"


class Silent(ScriptedServer):
    """It says to nobody where else to go."""

    async def Locate(self, request: pb.LocateRequest, context: Any) -> pb.LocateReply:  # noqa: N802 — generated
        await context.abort(grpc.StatusCode.INTERNAL, "no idea")
        raise AssertionError


async def test_a_server_that_sends_nowhere_and_does_not_say_where_else_is_joined_again(start: Start) -> None:
    async with Silent() as server:
        start(app_of(), server.address)
        await (await server.joined()).send(redirect=pb.Redirect(addresses=["127.0.0.1:1"]))
        assert await server.joined()
