"""What a combiner says of clients that are not its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from kernel.tests.network.attaching import Child, child
from kernel.tests.network.conftest import House

from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier


@dataclass
class Pair:
    """Two combiners; the client is at east, where it has been asked."""

    house: House
    east: Child
    west: Child
    client: str
    session: str
    number: int

    @property
    def task(self) -> str:
        return f"{self.session}-{self.number}"

    async def reports(self, combiner: Child) -> None:
        """A result of the client's task."""
        held = tier.Batch(
            session=self.session,
            project="default",
            tasks=[self.number],
            named=[self.client],
            result_names=["r"],
            num_examples=[1],
            norms=[0.0, 0.0],
        )
        await combiner.say(reports=tier.Reports(held=[held]))

    async def heard_all(self, combiner: Child) -> None:
        """What it has said so far is heard."""
        await combiner.say(attach=tier.Attach())  # once more: the end
        await combiner.ended()

    async def first(self, *types: str) -> str:
        """The first event of these types."""
        async for event in self.house.heard:
            if event.type in types:
                return event.type
        raise AssertionError("the feed has ended")


@pytest.fixture
async def pair(house: House) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as ending:
        east, west = [await ending.enter_async_context(child(house.address, name)) for name in ("east", "west")]
        client = await east.join("a", house.network._tickets.mint("default/a", "", "east"))
        await house.event("client.joined")
        session = await house.session(round={"retries": 0})
        (asked,) = (await east.heard("relay")).tasks
        yield Pair(house, east, west, client, session, asked.tasks[0])


async def test_a_result_counts_that_is_reported_from_where_its_client_is(pair: Pair) -> None:
    await pair.reports(pair.west)
    await pair.heard_all(pair.west)
    await pair.reports(pair.east)
    assert await pair.first("update.accepted")
    live = pair.house.runner.lives[pair.session]
    assert live.state.tasks[pair.task].holder.startswith("east.")


@pytest.mark.parametrize("failed", [True, False], ids=["failed", "refused"])
async def test_a_task_fails_only_by_the_word_of_the_combiner_that_its_client_is_at(pair: Pair, *, failed: bool) -> None:
    declined = tier.Declined(client=pair.client, task=pair.task, reason="raised", failed=failed)
    await pair.west.say(reports=tier.Reports(declined=[declined]))
    await pair.heard_all(pair.west)
    await pair.reports(pair.east)
    assert await pair.first("update.accepted", "task.failed", "update.refused") == "update.accepted"


async def test_a_client_is_quoted_only_by_the_combiner_that_it_is_at(pair: Pair) -> None:
    for combiner, line in ((pair.west, "not mine"), (pair.east, "mine")):
        said = tier.Said(client=pair.client, log=pb.Log(task=pair.task, level="info", text=line))
        await combiner.say(work=tier.Work(said=[said]))
        if combiner is pair.west:
            await pair.heard_all(combiner)
    assert (await pair.house.event("client.log")).body["text"] == "mine"


@pytest.mark.parametrize("order", [["east", "west"], ["west", "east"]])
async def test_a_combiner_that_holds_a_copy_hears_the_verdict_on_it(pair: Pair, order: list[str]) -> None:
    """Or it would keep it on its disk until its stream breaks."""
    marker = await pair.west.join("b", pair.house.network._tickets.mint("default/b", "", "west"))
    for name in order:
        if name == "east":
            await pair.reports(pair.east)
            assert await pair.first("update.accepted")
        else:
            await pair.reports(pair.west)
            await pair.west.say(work=tier.Work(said=[tier.Said(client=marker, log=pb.Log(text="it is heard"))]))
            assert await pair.first("client.log")
    await pair.house.desk.stop(pair.session)
    (answer,) = (await pair.west.heard("answers")).answers
    assert (answer.verdict.task, answer.verdict.reason) == (pair.task, "session-stopped")
