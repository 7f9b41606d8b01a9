"""A combiner and the tasks of its own clients."""

import asyncio
from collections.abc import Callable

import pytest
from kernel.tests.combiner.conftest import BASE, BASE_HASH, SESSION, Middle

from fedk.combiner.words import Asked
from fedk.rounds.clients import Joining
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

A, B = f"{SESSION}-1", f"{SESSION}-2"


def asked(task: str) -> list[Asked]:
    """Client `a` is asked."""
    return [Asked(task, "a", common=1, seed=1, remaining=60.0)]


def common(number: int = 1) -> tier.Common:
    """Of tasks that bring the model."""
    model = pb.Blob(sha256=BASE_HASH, size=len(BASE))
    expected = tier.Expectation(blobs=True, largest=1e9, max_examples=9)
    task = pb.Task(kind="train", session="digits", round=1, inputs={"model": model})
    return tier.Common(id=number, task=task, project="default", session=SESSION, accepting=1, expectation=expected)


async def test_a_task_whose_model_came_damaged_is_offered_with_another(
    middle: Middle, caplog: pytest.LogCaptureFixture
) -> None:
    """The parent asks once, and no deadline runs before a task is sent."""
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    middle.above.damaged.put_nowait(b"not these")
    middle.relay.relay([common()], asked(A))
    middle.relay.relay([], asked(B))
    assert {await middle.down.offered.get(), await middle.down.offered.get()} == {A, B}
    assert caplog.text.count("came from the parent with another hash") == 1


@pytest.mark.parametrize("left", ["away", "called off"])
async def test_what_nobody_can_give_or_needs_is_not_fetched_again(middle: Middle, left: str) -> None:
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    for _ in range(2):
        middle.above.damaged.put_nowait(b"not these")
    fetch = middle.above.fetch

    async def meanwhile(sha256: bytes, write: Callable[[bytes], None]) -> None:
        middle.above.is_here = left != "away"
        if left == "called off":
            middle.relay.forget(A)
        await fetch(sha256, write)

    middle.above.fetch = meanwhile  # type: ignore[method-assign]  # the same, when something has happened
    middle.relay.relay([common()], asked(A))
    await asyncio.wait(set(middle.relay._errands._working))
    assert middle.above.damaged.qsize() == 1
    assert not middle.relay.asks(A)


async def test_the_first_of_a_kind_that_is_sent_is_told_at_once_and_of_others_the_result_may_tell(
    middle: Middle,
) -> None:
    """A round's deadline runs from the first on."""
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    middle.relay.relay([common()], asked(A))
    middle.relay.relay([], asked(B))
    for task in (A, B):
        assert await middle.down.offered.get() == task
        middle.relay.sent(task)
    assert middle.above.sent_ == [(A, True), (B, False)]


@pytest.mark.parametrize("back", [True, False])
async def test_half_an_upload_of_a_client_that_has_left_goes_with_its_round(middle: Middle, *, back: bool) -> None:
    """Until then it may come back and go on; where it has gone elsewhere no verdict is told here."""
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    middle.relay.relay([common()], asked(A))
    assert await middle.down.offered.get() == A
    upload = middle.spool.upload(SESSION, A, "r1", 1_000)
    upload.write(b"half")
    upload.close()
    middle.relay.leave("a", "i1", "lost")
    if back:
        await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
        middle.relay.relay([], asked(A))
        assert await middle.down.offered.get() == A
    middle.relay.relay([common(2)], [])
    await asyncio.sleep(0)
    middle.spool.sweep()
    assert len(list(middle.spool.root.rglob("*.upload"))) == back


class Hashed(str):
    """A client's id that counts how often it is looked up."""

    __slots__ = ()
    times = 0

    def __hash__(self) -> int:
        Hashed.times += 1
        return super().__hash__()


async def test_who_leaves_costs_what_it_has_and_not_what_all_have(middle: Middle) -> None:
    """Ten thousand that leave at once would hold up everybody for seconds."""
    clients = [Hashed(f"c{n}") for n in range(300)]
    for client in clients:
        await middle.relay.join(Joining("default", client, "i1", {}, (), (), ""))
    tasks = [Asked(f"{SESSION}-{n}", client, 1, 1, 60.0) for n, client in enumerate(clients, 1)]
    middle.relay.relay([common()], tasks)
    for _ in tasks:
        await middle.down.offered.get()
    Hashed.times = 0
    for client in clients:
        middle.relay.leave(client, "i1", "lost")
    assert not any(middle.relay.asks(one.task) for one in tasks)
    assert Hashed.times < 300 * 20
