"""A combiner that runs for years: what stays in its memory, and on its disk."""

import asyncio
from dataclasses import replace

from kernel.tests.combiner.conftest import SESSION, Middle, arrival, update
from kernel.tests.combiner.test_relay import A, B, common

from fedk.combiner.words import Asked
from fedk.rounds.clients import Joining, Present, Receipt
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier


async def test_of_a_session_that_is_over_nothing_is_kept(middle: Middle) -> None:
    """One client below and one here; a sum from below, a sum of both, their verdict."""
    own, guest, east = arrival(B), arrival(A), await middle.child("east")
    await middle.children.join(east, Joining("default", guest.client, "i1", {}, (), (), ""))
    await middle.relay.join(Joining("default", own.client, "i1", {}, (), (), ""))
    asked = [Asked(A, guest.client, 1, 1, 60.0), Asked(B, own.client, 1, 1, 60.0)]
    middle.relay.relay([common()], asked)
    assert {await middle.down.offered.get(), await middle.down.offered.get()} == {A, B}
    middle.report(east, A)
    span = middle.spool.append(SESSION, 1, Safetensors().dumps({"w": update(B)}))
    assert isinstance(await middle.relay.take(replace(own, span=span)), Receipt)
    middle.flush(A, B)
    await middle.down.asked()
    await middle.bring(east, A)
    first, _ = await middle.above.delivered.get()
    middle.relay.partial_taken(tier.PartialTaken(session=SESSION, number=first.partial.number))
    settled = tier.Settled(session=SESSION, tasks=[1, 1], said=pb.Verdict(outcome=pb.OUTCOME_COMMITTED))
    middle.relay.answers(tier.Answers(settled=[settled]))
    middle.children.gone(east, [Present(guest.client, "i1", cause="goodbye")])
    middle.relay.leave(own.client, "i1", "goodbye")
    middle.relay.relay([common(2)], [])
    while working := {*middle.flushes._errands._working, *middle.relay._errands._working}:
        await asyncio.wait(working)
    await asyncio.sleep(0)  # a brief's end is a callback
    kept = [middle.below, middle.flushes, middle.partials, middle.holdings, middle.relay._inputs]
    kept += [middle.relay, middle.relay._stays, middle.relay._tasks, middle.children._guests]
    tables = {f"{type(one).__name__}.{name}": table for one in kept for name, table in vars(one).items()}
    left = {name for name, table in tables.items() if isinstance(table, dict | set | list) and table}
    assert left == {"Tasks._commons"}, "of which 64 are kept"
    middle.spool.sweep()
    assert not list(middle.spool.root.rglob("*.upload"))
    assert not list((middle.folder / "partials").iterdir())


async def test_a_brief_that_fails_leaves_no_model_open(middle: Middle) -> None:
    """Each task of its round would leave another one."""

    def broken(_name: str, _settings: str) -> None:
        raise ValueError("these are no settings")

    middle.relay._tasks._codecs = broken
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    brought = common()
    brought.task.codec = "float16"
    middle.relay.relay([brought], [Asked(A, "a", 1, 1, 60.0)])
    await asyncio.wait(set(middle.relay._errands._working))
    assert not middle.relay.asks(A)
    assert not middle.relay._inputs._users
    assert not list((middle.folder / "inputs").iterdir())
