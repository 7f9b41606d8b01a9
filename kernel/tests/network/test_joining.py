"""How a client becomes a member, and how it does not."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # published without types
from kernel.tests.network.conftest import House, opened
from kernel.tests.network.wire import Wire

from fedk.api.errors import ConfigError
from fedk.network import calls
from fedk.network.listener import Keepalive
from fedk_protocol.v1 import federation_pb2 as pb


async def test_a_client_is_welcomed_with_id_ticket_and_limits(house: House) -> None:
    client = await house.joined("a")
    welcome = client.welcome
    assert welcome.client == house.runner.roster.named("default", "a").id  # type: ignore[union-attr]  # it has just joined
    assert (welcome.version.major, welcome.version.minor) == (1, 0)
    assert (welcome.limits.inline_max, welcome.limits.message_max, welcome.limits.chunk) == (65_536, 4 * 2**20, 2**19)
    assert (welcome.reconnect_base, welcome.reconnect_cap) == (0.2, 1.0)
    assert welcome.server.startswith("fedk ")
    assert (await house.event("client.joined")).body["client"] == "a"


async def test_the_id_stays_that_of_the_name(house: House) -> None:
    first = await house.joined("a")
    await first.leave()
    again = await house.joined("a")
    assert again.welcome.client == first.welcome.client
    assert (await house.joined("b")).welcome.client != first.welcome.client


async def test_another_major_version_is_refused_with_both_named(house: House) -> None:
    client = await house.client("a")
    await client.open(version=pb.Version(major=2, minor=1))
    refusal = await client.next("refusal")
    assert (refusal.reason, refusal.retry, refusal.task) == ("version", False, "")
    assert "client speaks fedk.v1 2.1, this server 1.0" in refusal.detail
    assert (await client.inbox.ended()).startswith("FAILED_PRECONDITION version: the client speaks")


async def test_another_minor_version_is_not(house: House) -> None:
    await house.joined("a", version=pb.Version(major=1, minor=7))


async def test_an_unknown_project_is_refused_and_the_known_ones_are_named(house: House) -> None:
    client = await house.client("a")
    await client.open(project="defualt")
    refusal = await client.next("refusal")
    assert (refusal.reason, refusal.retry) == ("unknown-project", False)
    assert "Projects: default" in refusal.detail
    assert (await client.inbox.ended()).startswith("FAILED_PRECONDITION unknown-project: ")


async def test_more_than_three_processes_a_minute_fight_for_a_name(house: House) -> None:
    for n in range(3):
        await (await house.client("a", instance=f"i{n}")).join()
    fourth = await house.client("a", instance="i3")
    await fourth.open()
    assert (await fourth.next("refusal")).reason == "duplicate-name"
    assert (await fourth.inbox.ended()).startswith("ALREADY_EXISTS duplicate-name: ")


async def test_a_newer_process_supersedes_the_older_which_is_told(house: House) -> None:
    older, newer = await house.client("a", instance="i1"), await house.client("a", instance="i2")
    await older.join()
    await newer.join()
    assert (await older.next("superseded")).instance == "i2"
    assert (await older.inbox.ended()).startswith("ABORTED superseded")
    await house.session()
    assert (await newer.next("task")).kind == "train"
    assert house.runner.roster.named("default", "a").state == "connected"  # type: ignore[union-attr]  # it has joined


async def test_the_ticket_of_a_superseded_process_is_worth_nothing(house: House) -> None:
    older, newer = await house.client("a", instance="i1"), await house.client("a", instance="i2")
    await older.join()
    await newer.join()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await older.fetch(pb.Blob(sha256=b"m" * 32))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_same_process_replaces_its_own_stream_in_silence(house: House) -> None:
    older, newer = await house.client("a", instance="i1"), await house.client("a", instance="i1")
    await older.join()
    await newer.join()
    assert (await older.inbox.ended()).startswith("ABORTED this client has a newer stream")
    assert "superseded" not in older.inbox.kinds()
    await house.session()
    assert (await newer.next("task")).kind == "train"


async def test_of_two_that_come_at_once_one_is_served_and_the_other_told(house: House) -> None:
    clients = [await house.client("a", instance=f"i{n}") for n in range(2)]
    await asyncio.gather(*(client.open() for client in clients))
    await house.session()
    ends = {asyncio.create_task(client.inbox.ended()): client for client in clients}
    done, served = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    older, newer = (ends[task] for found in (done, served) for task in found)
    assert (await older.next("superseded")).instance == newer.instance
    assert (await newer.next("task")).kind == "train"
    assert "superseded" not in newer.inbox.kinds()
    await newer.cut()
    await asyncio.wait(served)


@pytest.mark.parametrize("name", ["", "a b", "../a", "ä", "x" * 101])
async def test_a_bad_name_breaks_the_protocol(house: House, name: str) -> None:
    client = await house.client("a")
    await client.open(name=name)
    assert (await client.inbox.ended()).startswith("INVALID_ARGUMENT name")


async def test_a_stranger_who_says_nothing_is_shown_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "GREETING", 0.05)
    client = await house.client("a")
    await client.dial()
    assert await client.inbox.ended() == "DEADLINE_EXCEEDED no Hello within 0.05 s"


async def test_a_client_that_is_gone_before_its_welcome_is_not_there(house: House) -> None:
    reached, go = house.hold_joining()
    client = await house.client("a")
    await client.open()
    await reached.wait()
    await client.cut()
    go.set()
    assert (await house.event("client.lost")).body["client"] == "a"
    assert len(house.network._members) == 0


async def test_anything_before_hello_breaks_the_protocol(house: House) -> None:
    client = await house.client("a")
    await client.dial()
    await client.send(log=pb.Log(text="hello?"))
    assert await client.inbox.ended() == "INVALID_ARGUMENT the first message must be Hello"


async def test_a_second_hello_breaks_the_protocol(house: House) -> None:
    client = await house.joined("a")
    await client.send(hello=client.hello())
    assert (await client.inbox.ended()).startswith("INVALID_ARGUMENT Hello is said once")


async def test_bytes_that_are_no_message_end_that_stream_and_no_other(house: House) -> None:
    other = await house.joined("b")
    async with grpc.aio.insecure_channel(house.address) as channel:
        call: Any = channel.stream_stream("/fedk.v1.Federation/Connect")()
        await call.write(b"\xff\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await call.details() == "3 bytes are no ClientMessage"
    await house.session()
    assert (await other.next("task")).kind == "train"


async def test_a_message_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, limits={"message_bytes": "2 MiB"}) as house:
        client = await house.joined("a")
        await client.send(log=pb.Log(text="x" * 2**21))
        assert (await client.inbox.ended()).startswith("RESOURCE_EXHAUSTED")
        assert (await house.event("client.lost")).body["client"] == "a"


async def test_goodbye_is_leaving_and_silence_is_an_accident(house: House) -> None:
    await (await house.joined("a")).leave()
    assert (await house.event("client.left")).body["client"] == "a"
    await (await house.joined("b")).cut()
    assert (await house.event("client.lost")).body["client"] == "b"


async def test_a_client_that_vanished_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path, keepalive=Keepalive(every=1.0, patience=0.5)) as house:
        wire = await Wire.to(house.address)
        client = await house.client("a")
        await client._channel.close()
        frozen = await house.doors.enter_async_context(type(client)(wire.address, "a"))
        await frozen.join()
        wire.freeze()
        assert (await house.event("client.lost")).body["client"] == "a"
        wire.close()


async def test_a_taken_port_is_named_and_never_shared(tmp_path: Path, house: House) -> None:
    port = int(house.address.rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"127.0.0.1:{port} \(server.listen\) is taken by another program") as caught:
        async with opened(tmp_path / "other", address=house.address):
            pass
    assert caught.value.exit_code == 78
    assert f"FEDK_SERVER__LISTEN=127.0.0.1:{port + 1} fedk server" in str(caught.value)


async def test_a_port_that_is_taken_on_one_of_a_names_addresses_is_taken(tmp_path: Path, house: House) -> None:
    port = house.address.rpartition(":")[2]
    with pytest.raises(ConfigError, match="is taken by another program"):
        async with opened(tmp_path / "other", address=f"localhost:{port}"):
            pass


@pytest.mark.parametrize("address", ["192.0.2.1:6090", "no-such-host.invalid:6090"])
async def test_an_address_of_another_machine_is_named(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"\(server.listen\) cannot be listened on"):
        async with opened(tmp_path, address=address):
            pass


async def test_health_is_asked_in_the_standard_way(house: House) -> None:
    async with grpc.aio.insecure_channel(house.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "fedk.v1.Federation"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == 1
        await house.network.drain(0)
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="fedk.v1.Federation"))).status == 2


async def test_locate_names_this_server(house: House) -> None:
    client = await house.client("a")
    assert list((await client.stub.Locate(pb.LocateRequest(name="a"))).addresses) == [house.address]
