"""What a combiner says to its parent comes in messages that may be sent, however much it is."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from kernel.tests.network.attaching import Above, above, child, middle

from fedk.api.errors import BlobError, Refused
from fedk.app import Combiner
from fedk.network import uplink
from fedk.network.calls import Context
from fedk.rounds.clients import Arrival
from fedk.settings.settings import MESSAGE
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

SESSION = "0123456789ab"


class Line:
    """A combiner, and the stream that its parent has of it."""

    def __init__(self, between: Combiner, parent: Above, stream: Context) -> None:
        self.listen, self.uplink, self.parent, self._stream = between.listen, between.uplink, parent, stream

    async def heard(self) -> tier.Upward:
        raw = await self._stream.read()
        assert isinstance(raw, bytes), "the stream has ended"
        assert len(raw) <= MESSAGE, "there may be a parent that does not take it"
        return tier.Upward.FromString(raw)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with above() as (parent, address), middle(tmp_path, address) as between:
        stream = await parent.stream()
        await between.uplink.attached.wait()
        yield Line(between, parent, stream)


async def test_4096_clients_come_and_as_many_go_in_one_message(line: Line) -> None:
    ids = [f"{n:064}" for n in range(4_096)]
    line.uplink.members(
        here=[tier.Present(client=one, instance=one) for one in ids],
        gone=[tier.Present(client=one, instance=one, cause="goodbye") for one in ids],
    )
    while len((await line.heard()).members.here) < 4_096:
        pass


async def test_why_a_client_has_gone_is_one_of_two_words_or_none(line: Line) -> None:
    """A combiner's own parent would hear whatever one below it says, and may not take so much."""
    async with child(line.listen) as leaf:
        one = tier.Present(client="c", instance="i", cause="x" * 1_000_000)
        await leaf.say(members=tier.Members(here=[one]))
        await leaf.say(members=tier.Members(gone=[one]))
        heard = (await line.heard()).members
        while not heard.gone:
            assert not any(here.cause for here in heard.here)
            heard = (await line.heard()).members
        assert heard.gone[0].cause == ""


async def test_one_line_at_a_time_is_passed_on_where_much_is_said_of_combiners_below(line: Line) -> None:
    below = [tier.Branch(name=f"c{n}", attributes={"site": "x" * 1_000}) for n in range(1_200)]
    line.uplink._work = lambda: tier.Work(below=below)
    for _ in range(300):
        line.uplink.said(tier.Said(client="c", log=pb.Log(text="é" * 10_000)))
    while len((work := (await line.heard()).work).below) < 1_200:
        pass
    assert len(work.said) == 1


async def test_of_a_lost_disk_300000_results_are_said(line: Line) -> None:
    line.uplink.report(lost=[f"{SESSION}-{n}" for n in range(300_000)])
    lost = 0
    while lost < 300_000:
        lost += len((await line.heard()).reports.lost)


async def test_256_results_with_4352_numbers_each_are_reported(line: Line) -> None:
    def result(n: int) -> Arrival:
        metrics = {f"m{i}": float(n * i) for i in range(4_352)}
        return Arrival(f"{SESSION}-{n}", "c", "r", 1, metrics, b"\0" * 32, blobs={})

    line.uplink.report(result(n) for n in range(256))
    reported = 0
    while reported < 256:
        reported += sum(len(batch.tasks) for batch in (await line.heard()).reports.held)


async def test_300_lines_of_10000_letters_that_take_two_bytes_are_passed_on(line: Line) -> None:
    for _ in range(300):
        line.uplink.said(tier.Said(client="c", log=pb.Log(text="é" * 10_000)))
    said = 0
    while said < 300:
        said += len((await line.heard()).work.said)


async def test_a_parent_that_does_not_answer_is_left_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink, "CALL", 0.2)
    async with above() as (silent, first), above() as (parent, second):
        silent.silent = True
        async with middle(tmp_path, first, second):
            await parent.stream()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Refused),
        (grpc.StatusCode.UNAVAILABLE, Refused),
        (grpc.StatusCode.INVALID_ARGUMENT, BlobError),
    ],
)
async def test_a_parent_that_is_there_and_does_not_take_a_delivery_is_not_away(
    line: Line, tmp_path: Path, code: grpc.StatusCode, error: type[Exception]
) -> None:
    (tmp_path / "sum").write_bytes(b"12345")
    line.parent.refusal = code, "for this reason"
    with pytest.raises(error, match=rf"does not take it: {code.name} for this reason"):
        await line.uplink.deliver(tier.Delivery(), [(tmp_path / "sum", 0, 5)])


async def test_a_delivery_that_cannot_be_read_says_so(line: Line, tmp_path: Path) -> None:
    with pytest.raises(BlobError, match="sum: No such file"):
        await line.uplink.deliver(tier.Delivery(), [(tmp_path / "sum", 0, 5)])
