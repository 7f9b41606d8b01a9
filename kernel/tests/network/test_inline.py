"""Results that come inside a message."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel.tests.network.conftest import House, opened, weights

from fedk.api.codec import Safetensors
from fedk.rounds import door
from fedk.rounds.door import Door
from fedk_protocol.v1 import federation_pb2 as pb


async def test_a_result_gets_a_receipt_and_then_the_model_that_it_is_in(house: House) -> None:
    client, other = await house.joined("a"), await house.joined("b")
    await house.session(clients={"min": 2})
    task, last = await client.next("task"), await other.next("task")
    result = await client.answer(task, {"model": weights(2.0)}, num_examples=7, metrics={"loss": 0.5})
    assert (await client.next("receipt")).result_id == result.result_id
    await other.answer(last, {"model": weights(2.0)})
    verdict = await client.next("verdict")
    assert (verdict.outcome, verdict.model, verdict.result_id) == (
        pb.OUTCOME_COMMITTED,
        "digits-1/1",
        result.result_id,
    )
    accepted = await house.event("update.accepted")
    assert accepted.body["client"] == "a"
    assert (await other.next("verdict")).outcome == pb.OUTCOME_COMMITTED  # its model was made with the answer to it
    assert "receipt" not in other.inbox.kinds()


@pytest.mark.parametrize("way", ["notes", "note"])
async def test_what_cannot_be_taken_at_once_is_taken_all_the_same(
    house: House, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate wants to see it; or its formula fails, and the session is to hear of it."""
    monkeypatch.setattr(Door, way, property(lambda _: False) if way == "notes" else lambda *_: False)
    client = await house.joined("a")
    await house.session()
    await client.answer(await client.next("task"), {"model": weights(2.0)})
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    assert house.spool.used("default") == 0


@pytest.mark.parametrize("way", ["reply", "over"])
async def test_a_fault_on_the_way_to_one_client_ends_its_stream_and_not_the_round(
    house: House, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is met after the commit, by whoever answers all."""
    client, other = await house.joined("a"), await house.joined("b")
    await house.session(clients={"min": 2})
    task, last = await client.next("task"), await other.next("task")
    member = house.network._members.get(client.welcome.client)
    owner = member if way == "reply" else house.network._reception
    with monkeypatch.context() as broken:
        broken.setattr(owner, way, lambda *_, **__: 1 / 0)
        await client.answer(task, {"model": weights(2.0)})
        assert await client.inbox.ended() == "INTERNAL a fault of this server: ZeroDivisionError"
    await other.answer(last, {"model": weights(2.0)})
    assert (await other.next("verdict")).outcome == pb.OUTCOME_COMMITTED


async def test_an_initial_model_is_recorded(house: House) -> None:
    client = await house.joined("a")
    await house.desk.create("default", name="own", stem="", rules=house.rules(), model=None)
    task = await client.next("task")
    assert task.kind == "init"
    await client.answer(task, {"model": weights(3.0)}, num_examples=0)
    assert (await client.next("verdict")).outcome == pb.OUTCOME_RECORDED
    assert (await client.next("task")).inputs["model"].inline == weights(3.0)


async def test_a_validation_is_recorded(house: House) -> None:
    client = await house.joined("a")
    await house.session(validation={"every": 1})
    first = await client.next("task")
    assert list(first.before) == ["validate"]
    before = {"validate": pb.Measured(num_examples=3, metrics={"accuracy": 0.25})}
    await client.answer(first, {"model": weights(1.0)}, before=before)
    last = await client.next("task")
    assert last.kind == "validate"
    await client.answer(last, metrics={"accuracy": 0.75})
    await client.next("verdict")
    assert (await client.next("verdict")).outcome == pb.OUTCOME_RECORDED
    measured = [await house.event("model.measured"), await house.event("model.measured")]
    assert {(m.body["round"], m.body["metrics"]["validate.accuracy"]) for m in measured} == {(0, 0.25), (1, 0.75)}


WRONG: list[tuple[str, dict[str, Any], bytes, str]] = [
    ("non-finite", {}, weights(math.nan), "w has 4 NaN of 4"),
    ("bad-shape", {}, weights(1.0, size=5), "w is"),
    ("bad-dtype", {}, Safetensors().dumps({"w": np.ones(4)}), "float64"),
    ("bad-names", {}, Safetensors().dumps({"v": np.ones(4, np.float32)}), "missing w, unexpected v"),
    ("bad-format", {}, b"not a model at all", ""),
    ("no-examples", {"num_examples": 0}, weights(1.0), "num_examples is 0"),
    ("too-large", {"num_examples": 2**40}, weights(1.0), "limits.max_examples"),
    ("bad-metric", {"metrics": {"loss": math.inf}}, weights(1.0), "loss is inf"),
    ("bad-metric", {"before": {"x.y": pb.Measured(num_examples=1)}}, weights(1.0), "x.y is no kind"),
    ("too-large", {}, bytes(2**20 + 2**18), "model has 1,310,720 bytes"),
]


@pytest.mark.parametrize(("reason", "fields", "data", "says"), WRONG)
async def test_what_is_wrong_is_refused_with_its_reason(
    house: House, reason: str, fields: dict[str, Any], data: bytes, says: str
) -> None:
    client = await house.joined("a")
    await house.session(round={"retries": 0})
    task = await client.next("task")
    client.welcome.limits.inline_max = 2**22  # a client that does not care
    await client.answer(task, {"model": data}, **fields)
    verdict = await client.next("verdict")
    assert (verdict.outcome, verdict.reason) == (pb.OUTCOME_REJECTED, reason)
    assert says in verdict.detail
    assert (await house.event("update.refused")).body["reason"] == reason
    assert "receipt" not in client.inbox.kinds()


async def test_bytes_with_another_hash_than_announced_are_refused(house: House) -> None:
    client = await house.joined("a")
    await house.session(round={"retries": 0})
    task = await client.next("task")
    blob = pb.Blob(sha256=b"h" * 32, size=len(weights()), inline=weights())
    await client.send(result=pb.Result(task=task.id, result_id="r1", num_examples=1, blobs={"model": blob}))
    verdict = await client.next("verdict")
    assert verdict.reason == "bad-hash"
    assert "announced was 68686868" in verdict.detail


async def test_a_result_sent_twice_counts_once_and_is_answered_twice(house: House) -> None:
    client, other = await house.joined("a", tasks=2), await house.joined("b")
    await house.session(round={"quorum": 1.0})
    task = await client.next("task")
    for _ in range(2):
        await client.answer(task, {"model": weights(1.0)}, result_id="r1")
    assert (await client.next("receipt")).result_id == "r1"
    assert (await client.next("receipt")).result_id == "r1"
    await other.answer(await other.next("task"), {"model": weights(3.0)})
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    await client.answer(task, {"model": weights(1.0)}, result_id="r1")
    assert (await client.next("verdict")).model == "digits-1/1"
    committed = await house.event("round.committed")
    assert committed.body["updates"] == 2


async def test_a_task_of_somebody_else_is_lost_to_whoever_answers_it(house: House) -> None:
    client, thief = await house.joined("a"), await house.joined("b")
    await house.session(rounds=1)
    task = await client.next("task")
    await thief.next("task")
    await thief.answer(task, {"model": weights(9.0)})
    assert (await thief.next("verdict")).outcome == pb.OUTCOME_LOST
    await client.answer(task, {"model": weights(1.0)})
    assert (await client.next("receipt")).task == task.id


async def test_a_result_without_ids_ends_its_stream(house: House) -> None:
    client = await house.joined("a")
    await client.send(result=pb.Result(task="t1"))
    assert (await client.inbox.ended()).startswith("INVALID_ARGUMENT result: result_id")


async def test_a_full_spool_settles_nothing_and_the_result_is_taken_later(tmp_path: Path) -> None:
    async with opened(tmp_path, limits={"spool_bytes": 100}) as house:
        client = await house.joined("a")
        await house.session()
        task = await client.next("task")
        await client.answer(task, {"model": weights(1.0)}, result_id="r1")
        refusal = await client.next("refusal")
        assert (refusal.reason, refusal.retry, refusal.result_id) == ("spool-full", True, "r1")
        house.spool.limit = 1_000
        await client.answer(task, {"model": weights(1.0)}, result_id="r1")
        assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED


@pytest.mark.parametrize("size", [4, 16_356])
async def test_results_wait_for_memory_where_there_is_little_and_then_not_for_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Small ones wait for their commit when the next one finds no memory; those of 64 KiB are still to be checked."""
    monkeypatch.setattr(door, "COMPANY", 3_600.0)
    async with opened(tmp_path, limits={"intake_bytes": 1}) as house:
        clients = [await house.joined(f"c{n}") for n in range(5)]
        await house.session(size=size, clients={"min": 5})
        for client in clients:
            await client.answer(await client.next("task"), {"model": weights(1.0, size)})
        for client in clients:
            assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED


async def test_what_a_client_sent_before_its_goodbye_still_counts(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    await client.answer(task, {"model": weights(1.0)})
    await client.leave()
    assert (await house.event("round.committed")).body["updates"] == 1
