"""Where a client goes when servers send it on, and when it cannot get there."""

import asyncio
import socket
from typing import Any

import grpc
import pytest
from client.python.tests.test_connection import Lines, Start, app_of, task

from fedk.testing.protocol import ScriptedServer
from fedk_client import connection
from fedk_client.errors import ClientError
from fedk_protocol.v1 import federation_pb2 as pb


@pytest.mark.parametrize("server", ["6090", "http://fl.example.org:6090", "fl.example.org:", "fl.example.org:0"])
def test_an_address_that_nobody_could_dial_is_refused_at_once(server: str) -> None:
    with pytest.raises(ClientError, match=f'"{server}" wants HOST:PORT, for example'):
        app_of().start(server, name="a")


async def test_a_redirect_is_followed_at_once_with_its_ticket(server: ScriptedServer, start: Start) -> None:
    async with ScriptedServer() as other:
        start(app_of(), server.address)
        first = await server.joined()
        await first.send(redirect=pb.Redirect(addresses=[other.address], ticket="from the root"))
        client = await other.joined()
        assert client.metadata["fedk-ticket"] == "from the root"
        await client.send(task=task(server))
        assert (await client.next("result")).task == "t1"
    assert await server.joined()  # the other is gone: back to the root


async def test_servers_one_below_the_other_are_passed_without_a_wait(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedServer() as middle, ScriptedServer() as leaf:
        start(app_of(), server.address)
        for here, next_ in ((server, middle), (middle, leaf)):
            await (await here.joined()).send(redirect=pb.Redirect(addresses=[next_.address], ticket="onwards"))
        assert (await leaf.joined()).metadata["fedk-ticket"] == "onwards"
        assert "next try" not in caplog.text


async def test_a_client_names_where_it_cannot_go_and_goes_where_it_is_sent_then(
    server: ScriptedServer, start: Start, lines: Lines
) -> None:
    async with ScriptedServer() as gone:
        nowhere = gone.address
    async with ScriptedServer() as other:
        server.located = pb.LocateReply(addresses=[other.address], ticket="for the other")
        start(app_of(), server.address)
        first = await server.connection()
        await first.send(redirect=pb.Redirect(addresses=["localhost:1", nowhere], ticket="for nowhere"))
        client = await other.joined()
    assert client.metadata["fedk-ticket"] == "for the other"
    assert [(one.name, list(one.unreachable)) for one in server.locates] == [("a", ["localhost:1", nowhere])]
    await lines.said(f"localhost:1, {nowhere} cannot be reached, {other.address} is asked instead")


async def test_a_server_that_takes_no_connection_is_left_after_5_s_for_the_one_that_was_given(
    server: ScriptedServer, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start(app_of(), server.address)
        await (await server.connection()).send(redirect=pb.Redirect(addresses=[address]))
        assert await server.joined()
    assert list(server.locates[0].unreachable) == [address]


async def test_where_no_fedk_server_listens_counts_as_not_reached(server: ScriptedServer, start: Start) -> None:
    other = grpc.aio.server()
    address = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
    await other.start()
    start(app_of(), server.address)
    await (await server.connection()).send(redirect=pb.Redirect(addresses=[address]))
    assert await server.joined()
    assert list(server.locates[0].unreachable) == [address]
    await other.stop(None)


async def test_a_server_that_names_nobody_else_is_asked_again_at_leisure(
    server: ScriptedServer, start: Start, lines: Lines
) -> None:
    async with ScriptedServer() as gone:
        nowhere = gone.address
    server.located = pb.LocateReply(addresses=[nowhere])
    start(app_of(), server.address)
    await (await server.connection()).send(redirect=pb.Redirect(addresses=[nowhere]))
    await lines.said("next try in")
    assert await server.joined()
    assert len(server.locates) == 1


class Silent(ScriptedServer):
    """Never says which server serves a client."""

    async def Locate(self, request: pb.LocateRequest, _context: Any) -> pb.LocateReply:  # noqa: N802 — the generated name
        self.locates.append(request)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_server_that_does_not_say_where_else_is_joined_as_if_nobody_was_missed(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER", 0.01)
    async with ScriptedServer() as gone:
        nowhere = gone.address
    async with Silent() as server:
        start(app_of(), server.address)
        await (await server.connection()).send(redirect=pb.Redirect(addresses=[nowhere]))
        await lines.said("Deadline Exceeded")
        assert await server.joined()
        assert len(server.locates) == 1


async def test_a_redirect_to_nowhere_is_followed_at_leisure(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start(app_of(), server.address)
    await (await server.connection()).send(redirect=pb.Redirect())
    assert await server.joined()
    assert "next try" in caplog.text


async def test_servers_that_take_a_client_in_and_send_it_round_in_a_circle_are_followed_at_leisure(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start(app_of(), server.address)
    for _ in range(10):
        await (await server.joined()).send(redirect=pb.Redirect(addresses=[server.address]))
    assert await server.joined()
    assert "next try" in caplog.text
