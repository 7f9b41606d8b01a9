"""What a combiner or a parent that says anything at all can do to the server at the other end: end its own stream."""

import math
import tracemalloc
from pathlib import Path
from typing import Any

import grpc
import pytest
from kernel.tests.compared import Compared
from kernel.tests.network.attaching import Child, above, child, middle
from kernel.tests.network.conftest import House
from kernel.tests.network.offering import offer

from fedk.network.calls import Ended
from fedk.network.combiners import Told, combiner
from fedk.rounds.clients import Verdict
from fedk.rounds.combiners import Combiner
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

SESSION = "0123456789ab"
LONG = "x" * 1_000_000
MIB = 2**20


def batch(**more: Any) -> dict[str, Any]:
    """A report of 40 results without blobs, of clients that nobody knows."""
    said: dict[str, Any] = {
        "session": SESSION,
        "tasks": [1] * 40,
        "named": ["c"] * 40,
        "result_names": ["r"] * 40,
        "num_examples": [1],
        "norms": [0.0, 0.0],
    }
    return {"reports": tier.Reports(held=[tier.Batch(**{**said, **more})])}


def sent(*, session: str = SESSION, tasks: list[int]) -> dict[str, Any]:
    return {"work": tier.Work(sent=[tier.Sent(session=session, tasks=tasks)])}


def here(*clients: str, **more: Any) -> dict[str, Any]:
    """Clients that nobody knows."""
    said: dict[str, Any] = {"instance": "i", **more}
    return {"members": tier.Members(here=[tier.Present(client=client, **said) for client in clients])}


def below(**more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"name": "leaf", "generation": "0" * 8, "parent": "east", "state": "live", **more}
    return {"work": tier.Work(below=[tier.Branch(**said)])}


def many(count: int) -> list[str]:
    return [str(n) for n in range(count)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "session": (batch(session=LONG, tasks=[1] * 200), "session 'xxx"),
    "results": (batch(tasks=[1] * 1_000_000), "1,000,000 results in one message, at most 256"),
    "metrics": (batch(metrics=many(50_000), values=[0.0] * 50_000), "metrics: 50,000 entries, at most 256"),
    "kinds": (batch(before=[tier.Kind(name=f"k{n}") for n in range(17)], num_examples=[1] * 18), "before: 17 entries"),
    "of a kind": (batch(before=[tier.Kind(name="k", metrics=many(257))], values=[0.0] * 257), "metrics: 257 entries"),
    "settings": (batch(settings_read=many(1_001)), "settings_read: 1,001 entries"),
    "blobs": (batch(blobs=many(65)), "blobs: 65 entries"),
    "combiners": (batch(via=["below"] * 65), "65 combiners in one message"),
    "number": (batch(tasks=[2**32 - 1, *[1] * 39]), "a task of number 4,294,967,334"),
    "session's folder": (batch(session="../../etc"), "session '../../etc' is none"),
    "project's folder": (batch(project="../../etc"), "project '../../etc' is none"),
    "client": (here(LONG), "a client named 'xxx"),
    "instance": (here("c", instance=LONG), "a client named 'c'"),
    "lost": ({"reports": tier.Reports(lost=["t"] * 1_000_000)}, "1,000,000 lost results in one message, at most 4,096"),
    "lost task": ({"reports": tier.Reports(lost=[LONG])}, "a lost result is named by its task"),
    "declined": (
        {"reports": tier.Reports(declined=[tier.Declined()] * 100_000)},
        "100,000 results that were not taken",
    ),
    "said": ({"work": tier.Work(said=[tier.Said()] * 100_000)}, "100,000 lines in one message, at most 256"),
    "name below": (below(name="\x1b[2J"), "name '\\x1b[2J' of a combiner"),
    "parent below": (below(parent=""), "combiner leaf below one: it has a parent"),
    "state below": (below(state="\x1b[2J"), "combiner leaf below one: it has a parent, and is live, draining or lost"),
    "attributes below": (below(attributes={"zone": "\x1b[2J"}), "attribute zone"),
    "address below": (below(advertise=[LONG]), "combiner leaf advertises 'xxx"),
    "addresses below": (below(advertise=["there:1"] * 65), "combiner leaf advertises 65 addresses, at most 64"),
    "many below": ({"work": tier.Work(below=[tier.Branch()] * 5_000)}, "5,000 combiners below one, at most 4,096"),
    "sent session": (sent(session=LONG, tasks=[1] * 200), "session 'xxx"),
    "sent tasks": (sent(tasks=[1] * 1_000_000), "1,000,000 tasks in one message, at most 4,096"),
    "sent number": (sent(tasks=[2**32 - 1, 1]), "a task of number 4,294,967,296"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_word_that_would_become_many_ends_its_stream_before_it_does(house: House, what: str) -> None:
    word, says = WRONG[what]
    async with child(house.address) as east:
        tracemalloc.start()
        try:
            await east.say(**word)
            assert (await east.ended()).startswith("INVALID_ARGUMENT")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert says in await east.ended()
        assert peak < 40 * MIB


NUMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "examples": (batch(num_examples=[2**64 - 1]), "num_examples is 18,446,744,073,709,551,615"),
    "metric": (batch(metrics=["loss"], values=[math.nan]), "a metric is a finite number"),
    "infinite metric": (batch(metrics=["loss"], values=[0.5] * 39 + [math.inf]), "a metric is a finite number"),
    "norm": (batch(norms=[math.nan, 1.0]), "a norm is nan"),
    "infinite norm": (batch(norms=[1.0, math.inf]), "a norm is inf"),
    "negative norm": (batch(norms=[-1.0, 1.0]), "a norm is -1"),
    "size": (
        batch(blobs=["model"], sizes=[2**64 - 1], sha256=b"h" * 32 * 40),
        "a blob of 18,446,744,073,709,551,615 bytes",
    ),
    "kind": (
        batch(before=[tier.Kind(name="\x1b[2J")], num_examples=[1, 1]),
        "is no kind that a task can ask for first",
    ),
}


@pytest.mark.parametrize("what", NUMBERS)
async def test_a_report_that_rows_and_people_cannot_have_ends_its_stream(house: House, what: str) -> None:
    """One of num_examples stopped the root."""
    word, says = NUMBERS[what]
    async with child(house.address) as east:
        await east.say(**word)
        assert says in await east.ended()


async def test_as_much_as_honest_combiners_say_is_heard(house: House) -> None:
    """Each result is answered, for its task is of no session."""
    kinds = [tier.Kind(name=f"k{n}", metrics=many(256)) for n in range(16)]
    word = batch(
        tasks=[1] * 256,
        named=["c"] * 256,
        result_names=["r"] * 256,
        metrics=many(256),
        before=kinds,
        num_examples=[1] * 17,
        values=[0.0] * 256 * 17,
        settings_read=many(1_000),
        via=["below.00000000"] * 64,
    )
    async with child(house.address) as east:
        await east.say(**word)
        answered = 0
        while answered < 256:
            answered += len((await east.heard("answers")).answers)
        await east.say(**sent(tasks=[1] * 4_096))
        await east.say(**sent(tasks=[1] * 4_097))
        assert "4,097 tasks" in await east.ended()


async def test_of_a_task_of_no_session_nothing_is_kept(house: House) -> None:
    async with child(house.address) as east:
        await east.say(**sent(tasks=[1, 1]))
        await east.say(attach=tier.Attach())  # once more: the end
        await east.ended()
        assert not house.runner.inbox._aside


@pytest.mark.parametrize("tasks", [[2**32 - 1, 1], [1] * (2**18 + 1)], ids=["beyond", "many"])
async def test_a_sum_of_tasks_that_cannot_be_leaves_no_bytes(house: House, tasks: list[int]) -> None:
    await house.joined("a")
    session = await house.session()
    async with child(house.address) as east:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await east.deliver(tier.Delivery(partial=tier.Partial(number=1, session=session, round=1, tasks=tasks)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [path for path in house.spool.root.rglob("*.upload") if path.is_file()] == []


async def test_a_client_is_asked_however_many_tasks_before_its_own_are_settled(house: House) -> None:
    async with child(house.address) as east:
        client = await east.join("a", house.network._tickets.mint("default/a", "", "east"))
        await house.event("client.joined")
        (link,) = house.network._tier.links
        for n in range(1_000):
            link.offer(offer(f"gone-{n}"))
        await house.session()
        (asked,) = (await east.heard("relay")).tasks
        assert (list(asked.tasks), list(asked.clients), client in link.clients) == ([1], [0], True)


async def test_a_bad_number_from_below_leaves_the_one_above_its_stream(house: House, tmp_path: Path) -> None:
    async with middle(tmp_path / "middle", house.address) as between:
        await house.event("combiner.joined")
        await between.uplink.attached.wait()
        async with child(between.listen) as leaf:
            await leaf.say(**sent(tasks=[2**32 - 1, 1]))
            assert "INVALID_ARGUMENT a task of number 4,294,967,296" in await leaf.ended()
        known = await between.uplink.ask("c", f"{SESSION}-1", "r")
        assert isinstance(known, Verdict)
        assert known.detail == "this server knows no such task", "the root has answered"


def asked(**more: Any) -> tier.Downward:
    said: dict[str, Any] = {"common": 1, "session": SESSION, "tasks": [1], "clients": [], "seeds": []}
    return tier.Downward(relay=tier.Relay(tasks=[tier.Assigned(**{**said, **more})]))


UNFIT: dict[str, bytes] = {
    "columns": asked(seeds=[1, 2]).SerializeToString(),
    "nobody": asked(clients=[7], seeds=[1]).SerializeToString(),
    "hashes": tier.Downward(
        flush=tier.Flush(session=SESSION, shares=[tier.Shares(tasks=[1], sha256=b"short")])
    ).SerializeToString(),
    "number": tier.Downward(
        answers=tier.Answers(settled=[tier.Settled(session=SESSION, tasks=[2**32 - 1, 1], said=pb.Verdict())])
    ).SerializeToString(),
    "no message": b"\xff",
}


@pytest.mark.parametrize("word", UNFIT.values(), ids=UNFIT)
async def test_what_a_parent_says_and_does_not_fit_together_ends_that_stream_and_another_one_begins(
    tmp_path: Path, word: bytes
) -> None:
    async with above() as (parent, address), middle(tmp_path, address) as between:
        await (await parent.stream()).write(word)
        await parent.stream()
        await between.uplink.attached.wait()


async def test_a_word_that_cannot_be_made_ends_the_stream_and_another_one_begins(tmp_path: Path) -> None:
    async with above() as (parent, address), middle(tmp_path, address) as between:
        await parent.stream()
        between.uplink.sent(f"{SESSION}-{2**32}", soon=True)
        await parent.stream()


async def test_tasks_are_said_to_be_sent_in_as_many_messages_as_they_need(tmp_path: Path) -> None:
    async with above() as (parent, address), middle(tmp_path, address) as between:
        stream = await parent.stream()
        await between.uplink.attached.wait()
        for number in range(1, 5_001):
            between.uplink.sent(f"{SESSION}-{number}", soon=True)
        found = list[int]()
        while sum(found) < 5_000:
            work = tier.Upward.FromString(await stream.read()).work
            found += [len(one.tasks) for one in work.sent]
        assert found == [4_096, 904]


async def test_a_word_that_this_combiner_cannot_follow_ends_the_stream_and_another_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails while a settled result is deleted."""

    def fails(_task: str) -> None:
        raise OSError(30, "Read-only file system")

    async with above() as (parent, address), middle(tmp_path, address) as between:
        stream = await parent.stream()
        await between.uplink.attached.wait()
        monkeypatch.setattr(between.holdings, "drop", fails)
        verdict = pb.Verdict(task=f"{SESSION}-1", outcome=pb.OUTCOME_RECORDED)
        answers = tier.Answers(answers=[tier.Answer(client="c", verdict=verdict)])
        await stream.write(tier.Downward(answers=answers).SerializeToString())
        await parent.stream()


async def test_what_a_combiner_says_for_a_client_is_heard_as_from_the_client(house: House) -> None:
    """It cannot steer a terminal, forge a line, or send numbers that JSON lacks."""
    async with child(house.address) as east:
        client = await east.join("a", house.network._tickets.mint("default/a", "", "east"))
        await house.event("client.joined")
        await house.session(round={"retries": 0})
        (asked,) = (await east.heard("relay")).tasks
        task = f"{asked.session}-{asked.tasks[0]}"
        line = pb.Log(task="\x1b[2J", level="\x1b", text="\x1b]0;title\x07" + "x" * 20_000)
        curve = pb.Progress(task=task, step=2**64 - 1, metrics={"loss": 0.5, "bad": float("nan")})
        said = [tier.Said(client=client, log=line), tier.Said(client=client, progress=curve)]
        await east.say(work=tier.Work(said=said))
        heard = (await house.event("client.log")).body
        assert (heard["task"], heard["level"], len(heard["text"])) == ("", "info", 10_000 + 6)
        assert "\x1b" not in heard["text"]
        point = (await house.event("client.progress")).body
        assert (point["step"], point["metrics"]) == (2**53, {"loss": 0.5})
        failed = tier.Declined(client=client, task=task, reason="\x1b[2J", detail="\x9b31mred\x7f", failed=True)
        await east.say(reports=tier.Reports(declined=[failed]))
        body = (await house.event("task.failed")).body
        assert (body["reason"], body["detail"]) == ("raised", "\\x9b31mred\\x7f")


async def worked(house: House, east: Child, **work: Any) -> Combiner:
    """What is known of it after that word: the next one is answered."""
    await east.say(work=tier.Work(**work))
    await east.say(**batch())
    await east.heard("answers")
    known = house.runner.combiners.named("east")
    assert known is not None
    return known


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
async def test_numbers_of_a_combiner_are_such_that_json_has(house: House, value: float) -> None:
    async with child(house.address) as east:
        said = below(load=value, fold_seconds=value)["work"]
        found = await worked(house, east, load=value, fold_seconds=value, below=said.below)
        (branch,) = found.below
        assert (found.load, found.fold_seconds, branch.load, branch.fold_seconds) == (0.0, 0.0, 0.0, 0.0)


async def test_numbers_of_a_combiner_are_no_larger_than_rows_and_readers_have_them(house: House) -> None:
    """A row has 31 bits of a capacity, a reader of JSON 53 of anything, and nobody has folded for a lifetime."""
    east = Child(house.address)
    try:
        await east.attach(capacity=2**64 - 1)
        await house.event("combiner.joined")
        counts = dict.fromkeys(("clients", "held", "held_bytes", "capacity"), 2**64 - 1)
        said = below(load=1e308, fold_seconds=1e308, **counts)["work"]
        found = await worked(house, east, load=1e308, fold_seconds=1e308, held_bytes=2**64 - 1, below=said.below)
        (branch,) = found.below
        for one in (found, branch):
            assert (one.load, one.fold_seconds, one.held_bytes, one.capacity) == (1.0, 1e9, 2**53, 2**31 - 1)
        assert (branch.clients, branch.held) == (2**53, 2**53)
    finally:
        await east.close()


async def test_a_combiner_says_that_a_task_is_sent_only_of_clients_that_are_there(house: House) -> None:
    """The round's deadline runs from then on."""
    async with child(house.address) as east, child(house.address, "west") as west:
        await east.join("a", house.network._tickets.mint("default/a", "", "east"))
        await house.event("client.joined")
        session = await house.session()
        await east.heard("relay")
        await west.say(**sent(session=session, tasks=[1]))
        await west.say(attach=tier.Attach())  # once more: the end
        await west.ended()
        live = house.runner.lives[session]
        assert live.arming is None
        await east.say(**sent(session=session, tasks=[1]))
        await east.say(attach=tier.Attach())
        await east.ended()
        assert live.arming is not None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("there", ""),
        ("there:0", "; ports are 1 to 65535"),
        ("there:65536", "; ports end at 65535"),
        ("::1:6090", ""),
        ("[::g]:6090", "; ::g is no IP address"),
        ("256.0.0.1:1", "; 256.0.0.1 is no IP address"),
        ("unix:/run/fedk", ""),
        ("\x1b[2J:1", ""),
    ],
)
def test_an_address_that_no_client_could_dial_is_refused_with_the_form_that_it_has(address: str, why: str) -> None:
    says = f'INVALID_ARGUMENT combiner east advertises {address!a}: it wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"{why}'
    attach = tier.Attach(version=pb.Version(major=1), name="east", generation="0" * 8, advertise=[address])
    with pytest.raises(Ended) as caught:
        combiner(attach)
    assert str(caught.value) == says


async def test_what_a_combiner_says_of_itself_is_such_that_people_can_read_it(house: House) -> None:
    east = Child(house.address)
    try:
        with pytest.raises((grpc.aio.AioRpcError, AssertionError), match="attribute zone"):
            await east.attach(attributes={"zone": "\x1b[2J"})
    finally:
        await east.close()


async def test_a_combiner_names_so_many_clients_on_a_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedk.network.reports.CLIENTS", 1_000, raising=False)
    async with child(house.address) as east:
        for at in range(3):
            await east.say(**here(*(f"c{at * 400 + n}" for n in range(400))))
        assert "1,200 clients on one stream, at most 1,000" in await east.ended()


async def test_clients_are_named_in_as_many_messages_as_they_need(tmp_path: Path) -> None:
    """A message has 4 MiB at most; one that is larger would end each stream anew."""
    async with above() as (parent, address), middle(tmp_path, address) as between:
        stream = await parent.stream()
        await between.uplink.attached.wait()
        between.uplink.members(here=(tier.Present(client=f"{n:032x}", instance=f"{n:032x}") for n in range(70_000)))
        named = 0
        while named < 70_000:
            raw = await stream.read()
            assert isinstance(raw, bytes), "the stream has ended"
            named += len(tier.Upward.FromString(raw).members.here)


def test_what_is_told_of_combiners_below_is_checked_when_it_is_new() -> None:
    """A thousand took 14 ms with each line that a client wrote."""
    told = Told()
    one, other = (tier.Branch(name=name, generation="0" * 8, parent="east", state="live") for name in ("a", "b"))
    first = told.hear([one, other])
    other.clients = 1
    second = told.hear([one, other])
    assert second[0] is first[0]
    assert (first[1].clients, second[1].clients) == (0, 1)
    told.hear([])
    assert told.hear([one]) == first[:1]
    assert told.hear([one])[0] is not first[0], "what is told no more is not kept"


async def test_tasks_that_a_combiner_does_not_read_are_taken_back_at_a_cost_of_their_own(house: House) -> None:
    """Not of all that wait: ten thousand would hold up everybody for more than a second."""
    async with child(house.address):
        await house.event("combiner.joined")
        (link,) = house.network._tier.links
        tasks = [Compared(f"gone-{n}") for n in range(500)]
        for task in tasks:
            link.offer(offer(task))
        Compared.times = 0
        for task in reversed(tasks):
            link.cancel("c", task, "late")
        assert Compared.times < 5_000
        assert not link._offers
        assert not link._answers
