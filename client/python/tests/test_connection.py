import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from client.python.tests.held import Held
from numpy.typing import NDArray

from fedk.testing.protocol import Connection, ScriptedServer
from fedk_client import ClientApp, Task, TaskCancelled, Update, Validation, delivery
from fedk_client.errors import Superseded, TurnedAway
from fedk_client.loop import submit
from fedk_client.running import Running
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb

Model = dict[str, NDArray[np.float64]]
Start = Callable[..., Running[Any, Any]]
Lines = Any  # conftest's
COMMITTED = pb.OUTCOME_COMMITTED


def app_of(size: int = 3, *, work: Callable[[Task[None]], Any] = lambda _task: None) -> ClientApp[Model, None]:
    """Adds one to the model; `work` may do something before."""
    app = ClientApp(model=lambda: {"w": np.zeros(size)})

    @app.train
    def train(net: Model, task: Task[None]) -> Update:
        state = work(task)
        return Update({"w": net["w"] + 1}, num_examples=4, metrics={"loss": 0.5}, state=state or {})

    @app.validate
    def validate(net: Model, _task: Task[None]) -> Validation:
        return Validation(num_examples=2, metrics={"sum": float(net["w"].sum())})

    return app


def model(size: int = 3, value: float = 1.0) -> bytes:
    return Safetensors().dumps({"w": np.full(size, value)})


def task(server: ScriptedServer, id: str = "t1", *, data: bytes | None = None, **fields: Any) -> pb.Task:  # noqa: A002 — the protocol's word
    asked = {"kind": "train", "session": "s", "round": 7, "inputs": {"model": server.offer(data or model())}}
    return pb.Task(id=id, **{**asked, **fields})


def weights(result: pb.Result) -> list[float]:
    values: list[float] = Safetensors().decode(result.blobs["model"].inline)["w"].tolist()
    return values


async def settled(client: Connection, running: Running[Any, Any]) -> None:
    """Nothing is kept any more: what the client answers to a later word, it says after all earlier ones are heard."""
    await client.send(task=pb.Task(id="later", kind="predict"))
    await client.next("failure")
    assert len(running._outbox) == 0


async def test_a_client_says_who_it_is(server: ScriptedServer, start: Start) -> None:
    app = app_of()
    start(app, server.address, name="lab-a", attributes={"site": "north"}, options={"data": "/secret"}, project="p")
    hello = (await server.joined()).hello
    assert (hello.name, hello.project, dict(hello.attributes)) == ("lab-a", "p", {"site": "north"})
    assert list(hello.capabilities)[:3] == ["init", "train", "validate"]
    assert "codec:float16" in hello.capabilities
    assert "codec:safetensors" not in hello.capabilities, "everybody has it"
    assert (hello.version.major, hello.software[:12]) == (1, "fedk-client ")
    assert "secret" not in str(hello)


async def test_a_small_round_is_one_message_each_way(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server, before=["validate"], settings='{"unread": 1}'))
    result = await client.next("result")
    assert weights(result) == [2, 2, 2]
    assert (result.task, result.num_examples, dict(result.metrics)) == ("t1", 4, {"loss": 0.5})
    assert (result.before["validate"].num_examples, dict(result.before["validate"].metrics)) == (2, {"sum": 3.0})
    assert client.inbox.kinds() == ["result"]


async def test_a_small_round_takes_no_task_of_the_loop_and_its_words_are_written_at_once(
    server: ScriptedServer, start: Start
) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    begun: list[Any] = []

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        begun.append(work)
        return asyncio.Task(work, loop=loop, **options)

    await asyncio.wrap_future(submit(_make_tasks_with(make)))
    for id_ in ("t1", "t2"):
        await client.send(task=task(server, id_))
        await client.verdict(await client.next("result"), COMMITTED)
    await asyncio.wrap_future(submit(_make_tasks_with(None)))
    assert len(begun) == 1, "the one that has ended the count"


async def _make_tasks_with(make: Any) -> None:
    asyncio.get_running_loop().set_task_factory(make)


async def test_an_inline_model_that_came_damaged_is_a_failure(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    asked = task(server)
    asked.inputs["model"].inline = bytes(asked.inputs["model"].size)
    await client.send(task=asked)
    failure = await client.next("failure")
    assert (failure.task, failure.reason) == ("t1", "bad-hash")
    assert failure.detail.endswith("came damaged")
    await client.send(task=task(server, "t2"))
    assert weights(await client.next("result")) == [2, 2, 2]


async def test_an_answer_that_is_made_before_its_delivery_returns_is_sent(server: ScriptedServer, start: Start) -> None:
    running = start(app_of(), server.address)
    client = await server.joined()
    connection = running._connection
    ready, answered, made = connection._desk.ready, connection.answered, threading.Event()

    def delivered() -> None:
        ready()
        made.wait()  # the thread of user code is quicker than this one

    def told(kept: Any) -> None:
        answered(kept)
        made.set()

    connection._desk.ready, connection.answered = delivered, told  # type: ignore[method-assign]  # to choose the order
    await client.send(task=task(server))
    assert weights(await client.next("result")) == [2, 2, 2]


async def test_init_and_validate_are_answered_too(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=pb.Task(id="t0", kind="init", session="s"))
    assert weights(await client.next("result")) == [0, 0, 0]
    await client.send(task=task(server, kind="validate"))
    assert dict((await client.next("result")).metrics) == {"sum": 3.0}


async def test_unknown_kinds_codecs_and_deltas_are_not_supported(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    asked: dict[str, dict[str, Any]] = {
        "t1": {"kind": "predict"},
        "t0": {"kind": "codec:float16"},
        "t2": {"inputs": {"model": server.offer(b"x", codec="npz")}},
        "t3": {"inputs": {"model": pb.Blob(representation=pb.REPRESENTATION_DELTA)}},
    }
    for id_, fields in asked.items():
        await client.send(task=task(server, id_, **fields))
        failure = await client.next("failure")
        assert (failure.task, failure.reason) == (id_, "not-supported")
        if id_ == "t1":
            assert failure.detail == 'kind "predict": this app has init, train, validate'


async def test_an_exception_sends_its_place_and_the_client_stays(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def work(asked: Task[None]) -> None:
        if asked.round == 7:
            raise ValueError("patient 17")

    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    failure = await client.next("failure")
    assert (failure.reason, failure.detail[:33]) == ("raised", "ValueError at test_connection.py:")
    assert "patient" not in failure.detail
    assert "patient 17" in caplog.text  # the traceback stays in this client's own log
    await client.send(task=task(server, "t2", round=8))
    assert (await client.next("result")).task == "t2"


async def test_the_text_of_an_exception_is_sent_where_it_is_shared(server: ScriptedServer, start: Start) -> None:
    start(app_of(work=lambda _task: 1 / 0), server.address, share_errors=True)
    client = await server.joined()
    await client.send(task=task(server))
    assert (await client.next("failure")).detail.endswith(": division by zero")


async def test_a_large_model_is_fetched_once_and_its_result_uploaded(server: ScriptedServer, start: Start) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    for id_ in ("t1", "t2"):
        await client.send(task=task(server, id_, data=model(100_000)))
        uploaded = await server.uploaded()
        assert Safetensors().decode(uploaded.blob("model"))["w"].tolist() == [2.0] * 100_000
    assert len(server.downloads) == 1
    await client.send(task=task(server, "t3", data=model(100_000, 5.0)))
    await server.uploaded()
    assert len(server.downloads) == 2


async def test_a_download_goes_on_where_it_broke_off(server: ScriptedServer, start: Start) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    server.cut_download = 300_000
    await client.send(task=task(server, data=model(100_000)))
    await server.uploaded()
    first, second = (offset for _, offset in server.downloads)
    assert first == 0
    assert 0 < second <= 300_000


async def test_a_damaged_download_is_fetched_again_and_then_given_up(server: ScriptedServer, start: Start) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    asked = task(server, data=model(100_000))
    server.blobs[asked.inputs["model"].sha256] = bytes(asked.inputs["model"].size)
    await client.send(task=asked)
    failure = await client.next("failure")
    assert failure.reason == "bad-hash"
    assert "came damaged, twice" in failure.detail
    assert [offset for _, offset in server.downloads] == [0, 0]


async def test_an_input_that_the_server_has_no_more_is_a_failure_not_a_loop(
    server: ScriptedServer, start: Start
) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    asked = task(server, data=model(100_000))
    server.blobs.clear()
    await client.send(task=asked)
    assert (await client.next("failure")).reason == "bad-hash"


async def test_an_upload_goes_on_at_the_servers_offset(server: ScriptedServer, start: Start) -> None:
    start(app_of(100_000), server.address)
    client = await server.joined()
    server.cut_upload = 300_000
    await client.send(task=task(server, data=model(100_000)))
    uploaded = await server.uploaded()
    assert uploaded.whole
    assert uploaded.offsets[0] == 0
    assert uploaded.offsets[-1] >= 300_000


async def test_an_upload_may_be_answered_by_a_verdict(server: ScriptedServer, start: Start, lines: Lines) -> None:
    running = start(app_of(100_000), server.address)
    client = await server.joined()
    await client.send(task=task(server, data=model(100_000)))
    uploaded = await server.uploaded()
    told = {"task": "t1", "result_id": uploaded.result.result_id}
    late = pb.Verdict(**told, outcome=pb.OUTCOME_REJECTED, reason="late")
    server.upload_replies["t1"] = pb.UploadReply(verdict=late)
    await client.send(send_from=pb.SendFrom(**told, offset=len(uploaded.data)))
    await lines.said("s round 7 not used: late")
    assert len(running._outbox) == 0


async def test_a_refused_result_is_forgotten_and_said(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    running = start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    detail = "coefs_.0 has 12 NaN of 4,096"
    await client.verdict(result, pb.OUTCOME_REJECTED, reason="non-finite", detail=detail)
    await settled(client, running)
    assert f"s round 7 refused: non-finite, {detail}; this client is asked again" in caplog.text


async def test_a_result_for_which_there_is_no_room_now_is_sent_again(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    refusal = pb.Refusal(task="t1", result_id=result.result_id, reason="spool-full", retry=True)
    await client.send(refusal=refusal)
    assert await client.next("result") == result


@pytest.mark.parametrize("by", ["", "7f3a99"])
async def test_a_result_that_is_settled_while_it_waits_is_not_sent_again(
    server: ScriptedServer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """By its own verdict, or another result's of its task. Its bytes are gone: a client that looked for them died."""
    waits, over = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    async def pause(_: float) -> None:
        here.call_soon_threadsafe(waits.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(over.wait(), here))

    monkeypatch.setattr(delivery, "pause", pause)
    start(app_of(), server.address, state=tmp_path)
    client = await server.joined()
    await client.send(task=task(server))
    result = await client.next("result")
    await client.send(refusal=pb.Refusal(task="t1", result_id=result.result_id, reason="draining", retry=True))
    await waits.wait()
    await client.send(verdict=pb.Verdict(task="t1", result_id=by or result.result_id, outcome=COMMITTED))
    await client.send(task=task(server, id="t2"))
    assert (await client.next("result")).task == "t2"
    over.set()
    await client.send(task=task(server, id="t3"))
    assert (await client.next("result")).task == "t3"


async def test_cancel_stops_work_that_reports(
    server: ScriptedServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fedk_client")
    begun, stopped = threading.Event(), threading.Event()

    def work(asked: Task[None]) -> None:
        begun.set()
        try:
            while True:
                asked.report(1, loss=0.5)
        except TaskCancelled:
            stopped.set()
            raise

    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(begun.wait)
    await client.send(cancel=pb.Cancel(task="t1", reason="late"))
    failure = await client.next("failure")
    assert (failure.task, failure.reason) == ("t1", "cancelled")
    assert stopped.is_set()
    assert "s round 7 called off: late" in caplog.text


async def test_cancel_drops_the_answer_of_work_that_does_not_report(server: ScriptedServer, start: Start) -> None:
    work = Held()
    running = start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    await asyncio.to_thread(work.begun.wait)
    await client.send(
        task=task(server, "t2"),
    )
    await client.send(cancel=pb.Cancel(task="t2"))
    assert (await client.next("failure")).task == "t2"  # at once: it has not begun
    await client.send(cancel=pb.Cancel(task="t1"))
    await client.send(task=task(server, "t3", kind="predict"))
    await client.next("failure")
    work.go_on.set()
    assert (await client.next("failure")).reason == "cancelled"
    assert "result" not in client.inbox.kinds()
    assert len(running._outbox) == 0


class Stalling(ScriptedServer):
    """Its uploads never end, and its downloads break the specification."""

    def __init__(self) -> None:
        super().__init__()
        self.stalled = asyncio.Event()

    async def Upload(self, request_iterator: Any, context: Any) -> pb.UploadReply:  # noqa: N802 — generated
        self.stalled.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def Download(self, request: pb.BlobRequest, context: Any) -> Any:  # noqa: N802 — generated
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "what is this")
        yield pb.Chunk()


async def test_cancel_drops_a_result_that_is_not_yet_sent(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fedk_client")
    async with Stalling() as server:
        running = start(app_of(5_000), server.address)
        client = await server.joined(limits=pb.Limits(inline_max=1_000))
        await client.send(task=task(server, data=model(5_000)))
        await server.stalled.wait()
        await client.send(cancel=pb.Cancel(task="t1", reason="late"))
        assert (await client.next("failure")).reason == "cancelled"
        assert len(running._outbox) == 0
        assert "s round 7 not used: late" in caplog.text


async def test_a_call_that_no_repetition_mends_ends_the_client() -> None:
    async with Stalling() as server:
        running = app_of(100_000).start(server.address, name="a")
        client = await server.joined()
        await client.send(task=task(server, data=model(100_000)))
        await asyncio.to_thread(running.wait)
        with pytest.raises(TurnedAway, match="does not understand this client: what is this"):
            running.stop()


async def test_live_words_reach_the_server(server: ScriptedServer, start: Start) -> None:
    def work(asked: Task[None]) -> None:
        asked.report(3, loss=0.25)
        asked.log("half way")

    start(app_of(work=work), server.address)
    client = await server.joined()
    await client.send(task=task(server))
    progress, line = await client.next("progress"), await client.next("log")
    assert (progress.task, progress.step, dict(progress.metrics)) == ("t1", 3, {"loss": 0.25})
    assert (line.task, line.level, line.text) == ("t1", "info", "half way")


@pytest.mark.parametrize("reason", ["version", "duplicate-name", "unknown-project"])
async def test_a_client_that_is_turned_away_ends_with_the_reason(server: ScriptedServer, reason: str) -> None:
    running = app_of().start(server.address, name="a")
    await (await server.connection()).refuse(reason, "client 1.0, server 2.0")
    await asyncio.to_thread(running.wait)
    with pytest.raises(TurnedAway, match=f"{reason}: client 1.0, server 2.0"):
        running.stop()


async def test_a_server_that_is_about_to_stop_is_tried_again(server: ScriptedServer, start: Start) -> None:
    start(app_of(), server.address)
    await (await server.connection()).refuse("draining", retry=True)
    assert await server.joined()


async def test_a_status_that_another_try_would_not_change_ends_the_client(server: ScriptedServer) -> None:
    running = app_of().start(server.address, name="a")
    (await server.connection()).end(grpc.StatusCode.UNAUTHENTICATED, "no token")
    await asyncio.to_thread(running.wait)
    with pytest.raises(TurnedAway, match="wants to know who is calling: no token"):
        running.stop()


async def test_a_newer_process_of_the_name_ends_this_one(server: ScriptedServer) -> None:
    running = app_of().start(server.address, name="a")
    client = await server.joined()
    await client.send(superseded=pb.Superseded(instance="7f3a99"))
    await asyncio.to_thread(running.wait)
    with pytest.raises(Superseded, match=r'a newer process joined as "a" \(instance 7f3a\): this one stops'):
        running.stop()


async def test_stop_says_goodbye_and_the_server_sees_the_end(server: ScriptedServer) -> None:
    running = app_of().start(server.address, name="a")
    client = await server.joined()
    stopping = asyncio.create_task(asyncio.to_thread(running.stop))
    await client.next("goodbye")
    assert await client.inbox.ended() == "the client is done"
    await stopping


async def test_stop_interrupts_the_wait_for_a_server_that_is_not_there() -> None:
    async with ScriptedServer() as gone:
        address = gone.address
    running = app_of().start(address, name="a")
    await asyncio.to_thread(running.stop)


async def test_leaving_the_with_block_stops(server: ScriptedServer) -> None:
    def session() -> None:
        with app_of().start(server.address, name="a") as client:
            assert client.client.name == "a"

    work = asyncio.create_task(asyncio.to_thread(session))
    await work


@pytest.mark.parametrize("size", [2**60, 2**64 - 1])
async def test_an_input_for_which_there_is_no_memory_is_a_failure(
    server: ScriptedServer, start: Start, size: int
) -> None:
    start(app_of(), server.address)
    client = await server.joined()
    blob = pb.Blob(sha256=b"x" * 32, size=size)
    await client.send(task=pb.Task(id="t1", kind="train", session="s", round=1, inputs={"model": blob}))
    failure = await client.next("failure")
    assert (failure.task, failure.reason) == ("t1", "bad-hash")
    assert f"{size:,} bytes" in failure.detail


async def test_who_is_interrupted_as_it_begins_has_joined_nobody(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes before the thread of user code knows of its connection: nobody could say goodbye."""

    def interrupted(work: Any) -> None:
        submit(work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedk_client.connection.submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            app_of().start(server.address, name="a")
    start(app_of(), server.address, name="b")
    assert (await server.connection()).hello.name == "b"
