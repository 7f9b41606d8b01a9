"""Messages that come twice, late, or from a process that has been replaced: each result has its effect once."""

import copy

import grpc
import pytest
from tests.faults.conftest import SEEDED, MakeSite, Site
from tests.faults.rows import one_verdict_each

from fedk.testing.protocol import ScriptedClient
from fedk.testing.protocol.client import kept
from fedk_protocol.v1 import federation_pb2 as pb

TRAINS = ["train"]
"""Capabilities: the session is over with its last model, which nobody measures."""
RULES = f'model = "{SEEDED}"\nrounds = 2\n[clients]\nmin = 2\ngrace = "10m"\n[round]\nreplace = false\n'


async def answered(client: ScriptedClient, *, examples: int) -> tuple[pb.Task, pb.Result, bytes]:
    """The client's next task, and its answer: the model that it brings, again."""
    task = await client.next("task")
    data = await client.fetch(task.inputs["model"])
    result = await client.answer(task, {"model": data}, num_examples=examples)
    return task, result, data


async def others_round(client: ScriptedClient) -> None:
    await answered(client, examples=1)
    await client.next("verdict")


def counted(site: Site, no: int) -> dict[str, int]:
    """Examples by client that are in a model."""
    found = next(one for one in site.rest("sessions/s/trail")["models"] if one["round"] == no)
    return {update["client"]: update["num_examples"] for update in found["updates"]}


async def last_round(*clients: ScriptedClient) -> None:
    for client in clients:
        await answered(client, examples=1)
    for client in clients:
        await client.next("verdict")


async def test_a_result_that_comes_five_times_through_a_verdict_and_a_kill_counts_once(site: MakeSite) -> None:
    here = site()
    here.session("s", RULES)
    async with ScriptedClient(here.server.listen, "a") as a, ScriptedClient(here.server.listen, "b") as b:
        await a.join(capabilities=TRAINS)
        await b.join(capabilities=TRAINS)
        task, result, data = await answered(a, examples=7)
        await a.send(result=result)  # before its receipt
        receipts = [await a.next("receipt") for _ in range(2)]
        await a.send(result=result)  # after it
        receipts.append(await a.next("receipt"))
        assert {(r.task, r.result_id) for r in receipts} == {(task.id, result.result_id)}
        await others_round(b)
        first = await a.next("verdict")
        await a.send(result=result)  # after the verdict
        assert await a.next("verdict") == first
        here.restart()
    async with ScriptedClient(here.server.listen, "a") as a, ScriptedClient(here.server.listen, "b") as b:
        await a.join(capabilities=TRAINS, outbox=[kept(result, {"model": data})])
        assert await a.next("verdict") == first
        await a.send(result=result)  # to a server that has the verdict from its rows
        assert await a.next("verdict") == first
        other = copy.deepcopy(result)
        other.result_id, other.num_examples = "another", 1_000_000
        await a.send(result=other)  # another answer to the same task
        assert (await a.next("verdict")).task == task.id
        await b.join(capabilities=TRAINS)
        await last_round(a, b)
    assert [counted(here, no) for no in (1, 2)] == [{"a": 7, "b": 1}, {"a": 1, "b": 1}]
    assert one_verdict_each(here) == 4


async def test_a_process_that_was_superseded_changes_nothing_with_its_old_result(site: MakeSite) -> None:
    here = site()
    here.session("s", RULES)
    async with (
        ScriptedClient(here.server.listen, "a") as old,
        ScriptedClient(here.server.listen, "a") as new,
        ScriptedClient(here.server.listen, "b") as b,
    ):
        await old.join(capabilities=TRAINS)
        await b.join(capabilities=TRAINS)
        task = await old.next("task")
        data = await old.fetch(task.inputs["model"])
        stale = pb.Result(task=task.id, result_id="stale", num_examples=1_000, blobs={"model": task.inputs["model"]})
        stale.blobs["model"].ClearField("inline")
        await new.join(capabilities=TRAINS)
        assert (await old.next("superseded")).instance == new.instance
        assert "ABORTED" in await old.inbox.ended()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await old.upload(stale, {"model": data})
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        again, _, _ = await answered(new, examples=7)
        assert again.id == task.id
        await others_round(b)
        await new.next("verdict")
        await last_round(new, b)
    assert counted(here, 1) == {"a": 7, "b": 1}
    assert one_verdict_each(here) == 4
