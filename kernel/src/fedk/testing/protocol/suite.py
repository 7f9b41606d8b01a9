"""What a client must do, in any language. Subclass `ClientSuite`, override the fixture `start`, run it with pytest.

class TestMine(ClientSuite):
    @pytest.fixture
    def start(self) -> Start:
        return program("./my-client", "--server", "{address}", "--name", "{name}")

The client under test answers every `train` task with the model that it got, for each set asked for with the input of
that name, with `num_examples` 1 and 1.0 for each metric wanted. It ends on SIGTERM, with a goodbye.
"""

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import numpy as np
import pytest
import pytest_asyncio

from fedk.testing.protocol.mailbox import PATIENCE
from fedk.testing.protocol.server import Connection, ScriptedServer, Uploaded
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb

SMALL = Safetensors().dumps({"w": np.arange(4, dtype=np.float32), "b": np.zeros(1)})
LARGE = Safetensors().dumps({"w": np.arange(200_000, dtype=np.float64)})  # 1.6 MB: beside the stream
SET = Safetensors().dumps({"w": np.full(4, 3, np.float32), "b": np.ones(1)})
UNKNOWN = pb.ServerMessage.FromString(b"\xfa\x3e\x02hi")  # field 1007, of a later minor version


class Running(Protocol):
    """A client that has been started."""

    def stop(self) -> None:
        """End it as its owner would, and see it ended."""

    def wait(self) -> None:
        """Return once it has ended by itself."""


Start = Callable[[str, str], Running]
"""Starts a client: (address, name)."""


def program(*command: str) -> Start:
    """A client that is a program; {address} and {name} are filled in."""

    def start(address: str, name: str) -> Running:
        filled = [word.format(address=address, name=name) for word in command]
        return _Process(subprocess.Popen(filled))

    return start


class _Process:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def stop(self) -> None:
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        try:
            self._process.wait(PATIENCE)  # a client that does not end fails its test instead of hanging it
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the client has not ended within {PATIENCE:g} s") from None


@pytest.mark.asyncio
class ClientSuite:
    """Since 1.0."""

    @pytest.fixture
    def start(self) -> Start:
        raise NotImplementedError("override the fixture `start`")

    @pytest_asyncio.fixture
    async def server(self) -> AsyncIterator[ScriptedServer]:
        async with ScriptedServer() as server:
            yield server

    @pytest_asyncio.fixture
    async def client(self, start: Start, server: ScriptedServer) -> AsyncIterator[Running]:
        running = await asyncio.to_thread(start, server.address, "a")
        yield running
        await asyncio.to_thread(running.stop)

    @pytest_asyncio.fixture
    async def joined(self, client: Running, server: ScriptedServer) -> Connection:
        return await server.joined()

    async def test_it_says_who_it_is(self, client: Running, server: ScriptedServer) -> None:
        hello = (await server.joined()).hello
        assert (hello.version.major, hello.project, hello.name) == (1, "default", "a")
        assert hello.instance
        assert "train" in hello.capabilities
        assert not hello.outbox
        assert not hello.working

    async def test_a_small_result_comes_back_on_the_stream(self, joined: Connection, server: ScriptedServer) -> None:
        result = await answered(joined, train(server, wants=["steps"]))
        assert result.result_id
        assert result.num_examples == 1
        assert result.metrics["steps"] == 1.0
        check_blob(result.blobs["model"], SMALL)

    async def test_a_set_that_is_asked_for_comes_along(self, joined: Connection, server: ScriptedServer) -> None:
        result = await answered(joined, train(server, control=SET))
        assert set(result.blobs) == {"model", "control"}
        check_blob(result.blobs["control"], SET)

    async def test_a_large_model_is_downloaded_and_uploaded(self, joined: Connection, server: ScriptedServer) -> None:
        await joined.send(task=train(server, LARGE))
        uploaded = await uploaded_by(joined, server)
        assert uploaded.blob("model") == LARGE
        assert not uploaded.result.blobs["model"].HasField("inline")

    async def test_a_small_blob_beside_a_large_one_is_uploaded_with_it(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        await joined.send(task=train(server, LARGE, control=SET))
        uploaded = await uploaded_by(joined, server)
        assert uploaded.data == SET + LARGE

    async def test_a_download_that_breaks_goes_on_where_it_was(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        server.cut_download = 700_000
        await joined.send(task=train(server, LARGE))
        assert (await uploaded_by(joined, server)).blob("model") == LARGE
        assert [offset for _, offset in server.downloads] == [0, 700_000]

    async def test_an_upload_that_breaks_goes_on_where_the_server_says(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        server.cut_upload = 700_000
        await joined.send(task=train(server, LARGE))
        uploaded = await uploaded_by(joined, server)
        assert uploaded.blob("model") == LARGE
        assert uploaded.offsets[0] == 0
        assert uploaded.offsets[-1] >= 700_000

    async def test_a_result_is_kept_after_its_receipt(self, joined: Connection, server: ScriptedServer) -> None:
        result = await answered(joined, train(server))
        await joined.receipt(result)
        joined.cut()
        again = await server.joined()
        assert again.hello.instance == joined.hello.instance
        kept = only(again.hello.outbox)
        assert (kept.task, kept.result_id) == (result.task, result.result_id)
        assert (kept.size, kept.sha256) == (len(SMALL), hashlib.sha256(SMALL).digest())
        await again.send(send_from=pb.SendFrom(task=kept.task, result_id=kept.result_id))
        assert (await again.next("result")).blobs["model"].inline == SMALL

    async def test_a_large_result_is_sent_again_from_the_offset_named(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        await joined.send(task=train(server, LARGE))
        uploaded = await uploaded_by(joined, server)
        uploaded.whole = False
        del uploaded.data[500_000:]  # as a server that was lost, and came back with less
        joined.cut()
        again = await server.joined()
        kept = only(again.hello.outbox)
        assert kept.sha256 == hashlib.sha256(LARGE).digest()
        await again.send(send_from=pb.SendFrom(task=kept.task, result_id=kept.result_id, offset=500_000))
        assert (await uploaded_by(again, server)).blob("model") == LARGE
        assert uploaded.offsets[-1] == 500_000

    async def test_a_result_is_forgotten_after_its_verdict(self, joined: Connection, server: ScriptedServer) -> None:
        first = await answered(joined, train(server, task="t1"))
        await joined.verdict(first, pb.OUTCOME_COMMITTED, model="digits-1/1")
        second = await answered(joined, train(server, task="t2"))
        await joined.verdict(second, pb.OUTCOME_REJECTED, reason="a-code-of-a-later-version")
        third = await answered(joined, train(server, task="t3"))
        joined.cut()
        again = await server.joined()
        assert [kept.task for kept in again.hello.outbox] == [third.task]

    async def test_words_mean_together_what_they_mean_alone(self, joined: Connection, server: ScriptedServer) -> None:
        first = await answered(joined, train(server, task="t1"))
        said = {"task": first.task, "result_id": first.result_id}
        await joined.send_together(
            pb.ServerMessage(receipt=pb.Receipt(**said)),
            pb.ServerMessage(verdict=pb.Verdict(**said, outcome=pb.OUTCOME_COMMITTED, model="digits-1/1")),
            pb.ServerMessage(task=train(server, task="t2")),
        )
        second = await joined.next("result")
        joined.cut()
        again = await server.joined()
        assert [kept.task for kept in again.hello.outbox] == [second.task] == ["t2"]

    async def test_a_task_that_comes_twice_is_worked_on_once(self, joined: Connection, server: ScriptedServer) -> None:
        first = await answered(joined, train(server))
        again = await answered(joined, train(server))
        assert again.result_id == first.result_id

    async def test_a_result_that_the_server_has_no_room_for_is_sent_again(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        first = await answered(joined, train(server))
        full = pb.Refusal(task=first.task, result_id=first.result_id, reason="spool-full", retry=True)
        await joined.send(refusal=full)
        assert (await joined.next("result")).result_id == first.result_id

    async def test_a_result_that_is_refused_for_good_is_forgotten(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        first = await answered(joined, train(server, task="t1"))
        await joined.send(refusal=pb.Refusal(task=first.task, result_id=first.result_id, reason="bad-names"))
        await answered(joined, train(server, task="t2"))
        joined.cut()
        assert [kept.task for kept in (await server.joined()).hello.outbox] == ["t2"]

    async def test_a_kind_that_it_does_not_know_is_not_supported(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        await joined.send(task=pb.Task(id="t1", session="digits-1", kind="dance"))
        failure = await joined.next("failure")
        assert (failure.task, failure.reason) == ("t1", "not-supported")
        await answered(joined, train(server, task="t2"))

    async def test_an_input_that_cannot_be_had_fails_its_task_only(
        self, joined: Connection, server: ScriptedServer
    ) -> None:
        nowhere = pb.Blob(sha256=bytes(32), size=len(LARGE), codec="safetensors")
        await joined.send(task=pb.Task(id="t1", kind="train", inputs={"model": nowhere}))
        assert (await joined.next("failure")).task == "t1"
        await answered(joined, train(server, task="t2"))

    async def test_a_cancelled_task_does_not_hinder_the_next(self, joined: Connection, server: ScriptedServer) -> None:
        await joined.send(task=train(server, task="t1"))
        await joined.send(cancel=pb.Cancel(task="t1", reason="late"))
        answer = await joined.next("result", "failure")  # a result, if it was sent before the cancel came
        if isinstance(answer, pb.Result):
            await joined.verdict(answer, pb.OUTCOME_REJECTED, reason="late")
        else:
            assert answer.reason == "cancelled"
        await answered(joined, train(server, task="t2"))
        assert joined.inbox.kinds().count("result") + joined.inbox.kinds().count("failure") == 2

    async def test_what_it_does_not_know_is_ignored(self, joined: Connection, server: ScriptedServer) -> None:
        await joined.send_message(UNKNOWN)
        await joined.send(verdict=pb.Verdict(task="nobody's", result_id="r", outcome=pb.OUTCOME_LOST))
        await joined.send(cancel=pb.Cancel(task="nobody's", reason="late"))
        await answered(joined, train(server))

    async def test_it_comes_back_when_the_server_does(self, joined: Connection, server: ScriptedServer) -> None:
        await server.stop()
        await server.start()
        again = await server.joined()
        assert again.hello.instance == joined.hello.instance
        await answered(again, train(server))

    async def test_it_comes_back_when_it_is_refused_for_now(self, client: Running, server: ScriptedServer) -> None:
        first = await server.connection()
        await first.refuse("draining", retry=True)
        assert (await server.joined()).hello.instance == first.hello.instance

    async def test_it_comes_back_when_the_server_has_drained(self, joined: Connection, server: ScriptedServer) -> None:
        await joined.send(drain=pb.Drain(reason="stopping"))
        joined.end()
        await answered(await server.joined(), train(server))

    async def test_it_goes_where_it_is_sent(self, client: Running, server: ScriptedServer) -> None:
        async with ScriptedServer() as other:
            here = await server.connection()
            await here.send(redirect=pb.Redirect(addresses=[other.address], ticket="ticket-2"))
            there = await other.joined()
            assert there.hello.instance == here.hello.instance
            assert there.metadata["fedk-ticket"] == "ticket-2"

    async def test_it_comes_back_and_says_where_it_could_not_go(self, client: Running, server: ScriptedServer) -> None:
        async with ScriptedServer() as other:
            nowhere = other.address
        here = await server.connection()
        await here.send(redirect=pb.Redirect(addresses=[nowhere], ticket="ticket-2"))
        again = await server.joined()
        assert again.hello.instance == here.hello.instance
        assert [list(asked.unreachable) for asked in server.locates] == [[nowhere]]

    async def test_it_stops_when_it_is_refused_for_good(self, client: Running, server: ScriptedServer) -> None:
        await (await server.connection()).refuse("version", "client 1.0, server 2.0")
        await asyncio.to_thread(client.wait)

    async def test_it_stops_when_it_is_superseded(
        self, client: Running, joined: Connection, server: ScriptedServer
    ) -> None:
        await joined.send(superseded=pb.Superseded(instance="newer"))
        await asyncio.to_thread(client.wait)

    async def test_it_says_goodbye(self, client: Running, joined: Connection) -> None:
        stopping = asyncio.ensure_future(asyncio.to_thread(client.stop))
        await joined.next("goodbye")
        await joined.inbox.ended()
        await stopping


def train(
    server: ScriptedServer, model: bytes = SMALL, *, task: str = "t1", control: bytes = b"", wants: Sequence[str] = ()
) -> pb.Task:
    """A task that brings `model`, and asks for the set `control` if it brings one."""
    inputs = {"model": server.offer(model), **({"control": server.offer(control)} if control else {})}
    sets = [name for name in inputs if name != "model"]
    return pb.Task(
        id=task, session="digits-1", kind="train", round=1, seed=7, inputs=inputs, settings="{}", sets=sets, wants=wants
    )


async def answered(connection: Connection, task: pb.Task) -> pb.Result:
    """The inline result of the task."""
    await connection.send(task=task)
    result: pb.Result = await connection.next("result")
    assert result.task == task.id
    return result


async def uploaded_by(connection: Connection, server: ScriptedServer) -> Uploaded:
    """The result that the client uploads; if it says that it cannot, that is the end of the test."""
    upload = asyncio.ensure_future(server.uploaded())
    failure = asyncio.ensure_future(connection.next("failure"))
    await asyncio.wait({upload, failure}, return_when=asyncio.FIRST_COMPLETED)
    failure.cancel()
    if upload.done():
        return upload.result()
    upload.cancel()
    raise AssertionError(f"instead of an upload came: {failure.result()}")


def only(outbox: Sequence[pb.Kept]) -> pb.Kept:
    """The one result that the client keeps."""
    assert len(outbox) == 1, f"{len(outbox)} results in the outbox, 1 has no verdict"
    return outbox[0]


def check_blob(blob: pb.Blob, data: bytes) -> None:
    assert blob.inline == data
    assert (blob.size, blob.codec) == (len(data), "safetensors")
    assert blob.sha256 == hashlib.sha256(data).digest()
