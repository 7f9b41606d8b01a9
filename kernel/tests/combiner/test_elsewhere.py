"""A combiner in the middle, and what is said to it of tasks that are others'."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from kernel.tests.combiner.conftest import SESSION, Middle, arrival
from kernel.tests.combiner.test_relay import common

from fedk.api.errors import Refused
from fedk.combiner.words import Asked
from fedk.rounds.clients import Joined, Joining, Present
from fedk.rounds.combiners import Combiner
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

A = f"{SESSION}-1"
CLIENT = arrival(A).client


@pytest.fixture
async def pair(middle: Middle) -> tuple[Combiner, Combiner]:
    """East and west; the client is at west, where it has been asked."""
    east, west = await middle.child("east"), await middle.child("west")
    await middle.children.join(west, Joining("default", CLIENT, "i1", {}, (), (), ""))
    middle.relay.relay([common()], [Asked(A, CLIENT, common=1, seed=1, remaining=60.0)])
    assert await middle.down.offered.get() == A
    return east, west


def settle(middle: Middle, client: str = CLIENT) -> None:
    said = pb.Verdict(task=A, outcome=pb.OUTCOME_LOST if client != CLIENT else pb.OUTCOME_COMMITTED)
    middle.relay.answers(tier.Answers(answers=[tier.Answer(client=client, verdict=said)]))


async def test_a_result_is_reported_first_from_where_its_client_is(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    """Who else has it hears the verdict."""
    east, west = pair
    middle.report(east, A)
    assert middle.above.reported == []
    assert middle.relay.awaits(CLIENT, A)
    middle.report(west, A)
    assert middle.above.reported == [A, A]
    middle.flush(A)
    assert await middle.down.asked() == (west.id, [A])
    settle(middle)
    ((_, _, holders),) = middle.down.replies
    assert holders == (west.id, east.id)


async def test_a_copy_counts_once_its_client_has_left(middle: Middle, pair: tuple[Combiner, Combiner]) -> None:
    east, west = pair
    middle.report(east, A)
    middle.children.gone(west, [Present(CLIENT, "i1", cause="lost")])
    assert middle.above.reported == [A]


async def test_what_a_lost_combiner_had_a_copy_of_is_not_asked_of_it(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    east, west = pair
    middle.report(east, A)
    middle.children.lost(east, [A])
    middle.report(west, A)
    settle(middle)
    ((_, _, holders),) = middle.down.replies
    assert holders == (west.id,)


async def test_a_report_that_names_another_client_than_the_tasks_changes_nothing(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    east, west = pair
    middle.children.report(east, [replace(arrival(A), client="another")])
    assert middle.relay.awaits(CLIENT, A)
    middle.report(west, A)
    middle.children.report(east, [replace(arrival(A), client="another")])
    assert middle.above.reported == [A]


async def test_a_verdict_on_another_clients_task_leaves_the_result(middle: Middle) -> None:
    await middle.hold(A)
    settle(middle, "another")
    assert middle.holdings.get(A) is not None
    assert middle.down.replies == []


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("how", ["failed", "declined"])
async def test_who_fails_a_task_of_another_client_does_not_take_it_from_that_one(middle: Middle, how: str) -> None:
    if how == "failed":
        middle.relay.failed("another", A, "raised", "")
    else:
        middle.children.declined("another", A, Refused("nan", ""))
    assert middle.relay.awaits(CLIENT, A)


async def test_a_client_that_has_left_is_known_by_name_no_more(middle: Middle, pair: tuple[Combiner, Combiner]) -> None:
    _, west = pair
    assert middle.children.placed("default", CLIENT) == west.id
    middle.children.gone(west, [Present(CLIENT, "i1", cause="lost")])
    assert middle.children.who(CLIENT) is None
    assert not middle.children._guests.named("default", CLIENT)


async def test_a_client_that_has_come_here_itself_is_no_guest_any_more(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    """Nobody below would ever say that it has gone."""
    _, west = pair
    await middle.relay.join(Joining("default", CLIENT, "i2", {}, (), (), ""))
    middle.children.gone(west, [Present(CLIENT, "i1", cause="lost")])
    assert middle.children.who(CLIENT) is None
    assert middle.relay.stay(CLIENT) is not None


async def test_a_client_that_has_left_while_its_combiner_was_away_is_forgotten_when_that_has_named_all(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    _, west = pair
    middle.children.detached(west)
    again = await middle.child("west")
    assert middle.children.who(CLIENT) is not None
    middle.report(again)
    assert middle.children.who(CLIENT) is None


async def test_the_loss_of_another_combiner_leaves_the_clients_of_one_that_is_away(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    east, west = pair
    middle.children.detached(west)
    middle.children.detached(east)
    await middle.child("east", generation="1" * 8)
    assert middle.children.who(CLIENT) is not None
    again = await middle.child("west")
    middle.children.here(again, [Present(CLIENT, "i1")])
    middle.report(again)
    assert middle.children.placed("default", CLIENT) == west.id


async def test_clients_of_a_combiner_that_is_away_are_known_until_it_is_lost(
    middle: Middle, pair: tuple[Combiner, Combiner]
) -> None:
    """Its stream may have broken for a moment only: they are still there."""
    _, west = pair
    middle.children.detached(west)
    assert middle.children.who(CLIENT) is not None
    again = await middle.child("west")
    middle.children.here(again, [Present(CLIENT, "i1")])
    assert middle.children.placed("default", CLIENT) == west.id
    middle.children.detached(again)
    await middle.child("west", generation="1" * 8)
    assert middle.children.who(CLIENT) is None
    assert not middle.children._guests.named("default", CLIENT)


async def test_a_client_whose_combiner_has_gone_before_the_parent_answers_is_not_there(middle: Middle) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(joining: Joining) -> Joined:
        reached.set()
        await go.wait()
        return Joined(joining.name, ())

    middle.above.join = slow  # type: ignore[method-assign]  # the same, later
    west = await middle.child("west")
    joining = asyncio.create_task(middle.children.join(west, Joining("default", CLIENT, "i1", {}, (), (), "")))
    await reached.wait()
    middle.children.detached(west)
    go.set()
    await joining
    assert middle.relay.stay(CLIENT) is None
    assert middle.above.gone == [CLIENT]


async def test_a_copy_counts_where_what_its_task_needs_does_not_come(middle: Middle) -> None:
    """The parent may never ask that client again, and would not hear of the copy."""
    east, west = await middle.child("east"), await middle.child("west")
    await middle.children.join(west, Joining("default", CLIENT, "i1", {}, (), (), ""))
    reached, go, fetch = asyncio.Event(), asyncio.Event(), middle.above.fetch

    async def late(sha256: bytes, write: Callable[[bytes], None]) -> None:
        reached.set()
        await go.wait()
        middle.above.is_here = False
        await fetch(sha256, write)

    middle.above.fetch = late  # type: ignore[method-assign]  # the same, later, and then it goes away
    middle.above.damaged.put_nowait(b"not these")
    middle.relay.relay([common()], [Asked(A, CLIENT, common=1, seed=1, remaining=60.0)])
    await reached.wait()
    middle.report(east, A)
    assert middle.above.reported == []
    go.set()
    await asyncio.wait(set(middle.relay._errands._working))
    assert middle.above.reported == [A]
