"""Tasks on their way to clients."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from kernel.tests.network.conftest import LARGE, House, weights

from fedk.network import pace
from fedk.network.stream import CROWDED
from fedk_protocol.v1 import federation_pb2 as pb


async def test_a_task_brings_all_that_its_client_needs(house: House) -> None:
    client = await house.joined("a")
    await house.session(seed=5, rounds=3, client_settings={"lr": 0.5})
    task = await client.next("task")
    assert (task.session, task.kind, task.round, task.settings) == ("digits-1", "train", 1, '{"lr": 0.5}')
    assert (task.inputs["model"].inline, task.inputs["model"].codec) == (weights(), "safetensors")
    assert 0 < task.remaining <= 600
    assert task.seed


async def test_a_large_model_is_named_and_not_brought(house: House) -> None:
    client = await house.joined("a")
    await house.session(size=LARGE)
    model = (await client.next("task")).inputs["model"]
    assert (model.size, model.HasField("inline")) == (len(weights(size=LARGE)), False)


async def test_a_client_works_on_one_task_at_a_time(house: House) -> None:
    client = await house.joined("a")
    await house.session("one")
    first = await client.next("task")
    await house.session("two")
    await house.event("round.open")
    assert client.inbox.kinds().count("task") == 1
    await client.answer(first, {"model": weights(1.0)})
    assert (await client.next("verdict")).task == first.id
    assert (await client.next("task")).session == "two"


async def test_or_on_as_many_as_it_says(house: House) -> None:
    client = await house.joined("a", tasks=2)
    await house.session("one")
    await house.session("two")
    assert {(await client.next("task")).session, (await client.next("task")).session} == {"one", "two"}


async def test_a_failure_frees_the_client(house: House) -> None:
    client = await house.joined("a")
    await house.session("one", round={"retries": 0})
    first = await client.next("task")
    await house.session("two")
    await client.send(failure=pb.Failure(task=first.id, reason="raised", detail="ValueError at client.py:21"))
    failed = await house.event("task.failed")
    assert (failed.body["reason"], failed.body["detail"]) == ("raised", "ValueError at client.py:21")
    assert (await client.next("task")).session == "two"


async def test_who_trains_on_one_model_twice_as_no_round_waits_draws_anew(house: House) -> None:
    client = await house.joined("a")
    rules: dict[str, Any] = {"mode": "async", "async": {"buffer": 2}, "aggregator": {"use": "fedbuff"}}
    await house.session(**rules)
    first = await client.next("task")
    await client.answer(first, {"model": weights(1.0)})
    again = await client.next("task")
    assert (again.round, again.inputs["model"].sha256) == (first.round, first.inputs["model"].sha256)
    assert again.seed != first.seed


async def test_a_task_that_a_client_is_at_work_on_is_not_sent_again(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.cut()
    await house.event("client.lost")
    await client.join(working=[task.id])
    await client.answer(task, {"model": weights(1.0)})
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    assert "task" not in client.inbox.kinds()


async def test_one_that_it_does_not_know_of_is(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.cut()
    await house.event("client.lost")
    await client.join()
    assert (await client.next("task")).id == task.id


async def test_a_kept_result_is_asked_for_and_its_task_not_sent(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.cut()
    await house.event("client.lost")
    await client.join(outbox=[pb.Kept(task=task.id, result_id="r1", sha256=b"h" * 32, size=9)])
    told = await client.next("send_from")
    assert (told.task, told.result_id, told.offset) == (task.id, "r1", 0)
    await client.answer(task, {"model": weights(1.0)}, result_id="r1")
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    assert "task" not in client.inbox.kinds()


async def test_every_kept_result_is_answered_before_anything_else(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.answer(task, {"model": weights(1.0)}, result_id="r1")
    await client.next("verdict")
    await client.cut()
    await house.session("two")
    kept = [pb.Kept(task=t, result_id="r1", sha256=b"h" * 32) for t in (task.id, "nobody-1")]
    await client.join(outbox=kept)
    await client.next("task")
    assert client.inbox.kinds() == ["welcome", "verdict", "verdict", "task"]
    assert (await client.next("verdict")).model == "digits-1/1"
    assert (await client.next("verdict")).outcome == pb.OUTCOME_LOST


async def test_stopping_a_session_cancels_what_its_clients_are_at(house: House) -> None:
    client = await house.joined("a")
    session = await house.session()
    task = await client.next("task")
    await house.desk.stop(session)
    cancel = await client.next("cancel")
    assert (cancel.task, cancel.reason) == (task.id, "session-stopped")


async def test_a_client_whose_task_was_cancelled_is_busy_until_it_says_that_it_has_stopped(house: House) -> None:
    client = await house.joined("a")
    session = await house.session("one")
    task = await client.next("task")
    await house.desk.stop(session)
    await client.next("cancel")
    await house.session("two")
    await house.event("round.open")
    assert client.inbox.kinds().count("task") == 1
    await client.send(failure=pb.Failure(task=task.id, reason="cancelled"))
    assert (await client.next("task")).session == "two"


async def test_a_task_that_is_still_queued_is_taken_back_in_silence(house: House) -> None:
    client = await house.joined("a")
    await house.session("one")
    first = await client.next("task")
    second = await house.session("two")
    await house.event("round.open")
    await house.desk.stop(second)
    await client.answer(first, {"model": weights(1.0)})
    await client.next("verdict")
    assert "cancel" not in client.inbox.kinds()
    assert client.inbox.kinds().count("task") == 1


async def test_work_that_was_settled_while_its_client_was_away_is_cancelled(house: House) -> None:
    client = await house.joined("a")
    session = await house.session()
    task = await client.next("task")
    await client.cut()
    await house.event("client.lost")
    await house.desk.stop(session)
    await client.join(working=[task.id, "nobody-7"])
    cancels = [await client.next("cancel"), await client.next("cancel")]
    assert {(c.task, c.reason) for c in cancels} == {(task.id, "session-stopped"), ("nobody-7", "lost")}


async def test_the_deadline_runs_from_the_moment_that_a_task_is_on_its_stream(house: House) -> None:
    client = await house.joined("a")
    await house.session(round={"deadline": 0.05, "retries": 0})
    task = await client.next("task")
    assert (await client.next("cancel")).task == task.id
    assert (await house.event("session.failed")).body["why"]


async def test_words_of_a_client_reach_those_who_listen(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.send(progress=pb.Progress(task=task.id, step=3, metrics={"loss": 0.5, "bad": float("nan")}))
    await client.send(log=pb.Log(task=task.id, level="shout", text="x" * 20_000))
    progress = await house.event("client.progress")
    assert (progress.body["step"], progress.body["metrics"]) == (3, {"loss": 0.5})
    line = await house.event("client.log")
    assert (line.body["level"], len(line.body["text"])) == ("info", 10_000)


async def test_a_flood_of_words_is_thinned_and_results_pass(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now))  # however long it takes to say it all
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    for n in range(1_000):
        await client.send(log=pb.Log(task=task.id, level="info", text=str(n)))
    await client.answer(task, {"model": weights(1.0)})
    lines = 0
    async for event in house.heard:
        lines += event.type == "client.log"
        if event.type == "session.finished":
            break
    assert lines == 200


async def test_bytes_are_counted_for_their_session(house: House) -> None:
    client = await house.joined("a")
    session = await house.session()
    task = await client.next("task")
    await client.answer(task, {"model": weights(1.0)}, result_id="r1")
    await client.next("verdict")
    sent, received = house.network.traffic(session)
    said = sum(m.ByteSize() for m in client.inbox.log if m.WhichOneof("kind") != "welcome")
    assert sent == said
    assert len(weights()) < received < len(weights()) + 200
    assert house.network.traffic("another") == (0, 0)


async def test_a_client_that_never_reads_is_not_read_either(house: House) -> None:
    deaf, other = await house.client("deaf"), await house.joined("b", attributes={"hears": "yes"})
    call = deaf.stub.Connect()
    await call.write(pb.ClientMessage(hello=deaf.hello()))
    await house.event("client.joined")
    question = pb.ClientMessage(result=pb.Result(task="nobody-1", result_id="r1", settings_read=["x" * 99] * 999))
    asking = asyncio.create_task(ask(call, question, 500))  # 50 MB, and each wants an answer
    await house.session(select='hears == "yes"')
    task = await other.next("task")
    await other.answer(task, {"model": weights(1.0)})
    assert (await other.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    member = next(member for member in house.network._members if member.client != other.welcome.client)
    assert len(member._stream._words) <= CROWDED
    asking.cancel()
    call.cancel()
    await house.event("client.lost")


async def ask(call: Any, question: pb.ClientMessage, times: int) -> None:
    for _ in range(times):
        await call.write(question)


async def test_what_a_client_says_cannot_steer_a_terminal_or_forge_a_line(house: House) -> None:
    client = await house.joined("a")
    await house.session(round={"retries": 0})
    task = await client.next("task")
    await client.send(log=pb.Log(task="\x1b[2J", level="\x1b", text="\x1b]0;title\x07\r12:00 info\u202e\nnext\ttab ✓"))
    said = (await house.event("client.log")).body
    assert (said["task"], said["level"]) == ("", "info")
    assert said["text"] == "\\x1b]0;title\\x07\\r12:00 info\\u202e\nnext\ttab ✓"
    await client.send(progress=pb.Progress(task=task.id, step=1, metrics={"\x1b": 1.0}))  # is no metric
    await client.send(failure=pb.Failure(task=task.id, reason="\x1b[2J", detail="\x9b31mred\x7f"))
    failed = (await house.event("task.failed")).body
    assert (failed["reason"], failed["detail"]) == ("raised", "\\x9b31mred\\x7f")
