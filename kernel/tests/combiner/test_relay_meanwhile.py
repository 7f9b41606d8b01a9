"""What happens to a task while its inputs are being fetched."""

import asyncio
from collections.abc import Callable

from kernel.tests.combiner.conftest import BASE, BASE_HASH, Middle
from kernel.tests.combiner.test_relay import A, B, asked, common

from fedk.rounds.clients import Joining
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier


class Held:
    """The parent gives the model once it may."""

    def __init__(self, middle: Middle) -> None:
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        middle.above.fetch = self.fetch  # type: ignore[method-assign]

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        self.asked.set()
        await self.may.wait()
        write(BASE)


async def begun(middle: Middle) -> Held:
    """Client `a` is asked, and the model is on its way."""
    held = Held(middle)
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    middle.relay.relay([common()], asked(A))
    await held.asked.wait()
    return held


async def over(middle: Middle, held: Held) -> None:
    """The model is here, and all who have waited for it have gone on."""
    held.may.set()
    while working := set(middle.relay._errands._working):
        await asyncio.wait(working)


async def test_a_task_of_a_round_that_another_follows_meanwhile_has_its_inputs(middle: Middle) -> None:
    held = await begun(middle)
    middle.relay.relay([common(2)], [])
    await over(middle, held)
    assert middle.down.offered.get_nowait() == A
    assert (await middle.relay.readable("a", BASE_HASH)).size == len(BASE)
    middle.relay.forget(A)
    assert not list(middle.relay._inputs._sizes)


async def test_a_task_that_is_called_off_meanwhile_is_not_sent(middle: Middle) -> None:
    held = await begun(middle)
    cancel = pb.Cancel(task=A, reason="late")
    middle.relay.answers(tier.Answers(answers=[tier.Answer(client="a", cancel=cancel)]))
    await over(middle, held)
    assert middle.down.offered.empty()
    assert not middle.relay.awaits("a", A)


async def test_a_task_that_is_called_off_and_asked_again_meanwhile_is_sent(middle: Middle) -> None:
    held = await begun(middle)
    cancel = pb.Cancel(task=A, reason="late")
    middle.relay.answers(tier.Answers(answers=[tier.Answer(client="a", cancel=cancel)]))
    middle.relay.relay([], asked(A))
    await over(middle, held)
    assert middle.down.offered.get_nowait() == A
    assert middle.down.offered.empty()


async def test_the_task_of_a_client_that_has_left_meanwhile_keeps_nothing_here(middle: Middle) -> None:
    held = await begun(middle)
    middle.relay.leave("a", "i1", "lost")
    await over(middle, held)
    middle.relay.relay([common(2)], [])
    await asyncio.sleep(0)
    assert middle.down.offered.empty()
    assert not middle.relay.awaits("a", A)
    assert not list(middle.relay._inputs._sizes)


async def test_inputs_of_a_task_that_came_twice_meanwhile_go_with_its_end(middle: Middle) -> None:
    held = await begun(middle)
    middle.relay.relay([], [*asked(A), *asked(B)])
    await over(middle, held)
    for task in (A, B):
        middle.relay.forget(task)
    middle.relay.relay([common(2)], [])
    await asyncio.sleep(0)
    assert not list(middle.relay._inputs._sizes)
