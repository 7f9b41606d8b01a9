"""What combiners and their parent say of tasks, as messages: nothing is lost, and a thousand clients cost little."""

import hashlib
import uuid
from dataclasses import replace
from typing import Any

import pytest

from fedk.aggregation.intake import Place
from fedk.combiner import words
from fedk.combiner.batches import arrivals, batches
from fedk.combiner.columns import column, cut, gaps, numbers, rows
from fedk.network.roll import Roll
from fedk.rounds.clients import Arrival, Measured, Wanted
from fedk.rounds.states import task_id
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

SESSION = "0123456789ab"
CLIENTS = [uuid.uuid4().hex for _ in range(1_000)]


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def result(n: int, **more: Any) -> Arrival:
    """As the reference client answers a train task."""
    sha256 = hash_of(f"update {n}")
    blobs = {"model": Place(0, 40_072, sha256)}
    found = Arrival(task_id(SESSION, 5_000 + n), CLIENTS[n], uuid.uuid4().hex, 60 + n, {"loss": 0.1 * n}, sha256)
    whole = replace(found, blobs=blobs, norm=1.0 + n, max_abs=0.1 + n, project="default")
    return replace(whole, **more)


@pytest.fixture
def roll() -> Roll:
    found = Roll()
    found.enter(CLIENTS)
    return found


def heard(said: list[tier.Batch], roll: Roll, *via: str) -> list[Arrival]:
    return [one for batch in said for one in arrivals(batch, roll.name, via=via)]


def test_what_is_reported_arrives_as_it_was_with_who_has_brought_it(roll: Roll) -> None:
    said = [result(n) for n in range(100)]
    (batch,) = batches(said, roll.number)
    assert heard([batch], roll, "east") == [replace(one, via=("east",)) for one in said]


def test_results_that_have_other_names_stand_in_batches_of_their_own(roll: Roll) -> None:
    one, other = hash_of("a"), hash_of("b")
    two = {"control": Place(0, 8, one), "model": Place(8, 40_072, other)}
    before = {"validate": Measured(7, {"accuracy": 0.5, "loss": 2.0}), "audit": Measured(1, {"seen": 3.0})}
    said = [
        result(0, via=("leaf",)),
        result(1, blobs=two),
        result(2, metrics={"loss": 1.0, "accuracy": 0.25}, before=before),
        result(3, result_id="mine", settings_read=("mu",)),
        result(4, blobs={}, sha256=hashlib.sha256().digest()),
    ]
    found = batches(reversed(said), roll.number)
    assert len(found) == len(said)
    assert heard(found, roll, "east") == [replace(one, via=("east", *one.via)) for one in said]


def test_a_client_that_was_not_named_on_the_stream_is_named_by_its_id() -> None:
    said = [result(1), result(2)]
    few = Roll()
    few.enter([CLIENTS[1]])
    (batch,) = batches(said, few.number)
    assert (list(batch.clients), list(batch.named)) == ([], CLIENTS[1:3])
    assert heard([batch], Roll()) == said


@pytest.mark.parametrize(
    "damage",
    [{"tasks": [1, 1]}, {"clients": [0, 1]}, {"result_ids": b"short"}, {"sha256": bytes(31)}, {"values": [1.0, 2.0]}],
)
def test_a_batch_whose_columns_do_not_fit_together_is_no_report(roll: Roll, damage: dict[str, Any]) -> None:
    (batch,) = batches([result(1)], roll.number)
    for field in damage:
        batch.ClearField(field)  # type: ignore[arg-type]  # one of its fields
    batch.MergeFrom(tier.Batch(**damage))
    with pytest.raises(ValueError, match=r"."):
        heard([batch], roll)


def test_a_number_that_no_client_has_is_no_report(roll: Roll) -> None:
    (batch,) = batches([result(1)], roll.number)
    with pytest.raises(ValueError, match="client 1 of a stream that has named 0"):
        heard([batch], Roll())


def test_a_flush_names_results_by_the_beginnings_of_their_hashes_and_models_once() -> None:
    wanted = [Wanted(task_id(SESSION, n), hash_of(f"{n}"), 1.0 + n % 2, 1.0, hash_of(f"m{n % 2}")) for n in range(10)]
    message = tier.Flush(session=SESSION, shares=words.shares(wanted))
    assert [len(shares.tasks) for shares in message.shares] == [5, 5]
    assert [list(shares.weights) for shares in message.shares] == [[1.0], [2.0]]
    found = sorted(words.flush(message).wanted, key=lambda one: one.task)
    assert found == [replace(one, sha256=one.sha256[:16]) for one in wanted]


def test_a_round_of_a_thousand_clients_is_116_bytes_for_each(roll: Roll) -> None:
    """64 of them are the result's id, its hash and what the flush names of that; 40 are a seed and four numbers."""
    results = [result(n) for n in range(1_000)]
    tasks = gaps(range(5_000, 6_000))
    asked = tier.Assigned(
        common=1, session=SESSION, tasks=tasks, clients=map(roll.__getitem__, CLIENTS), seeds=[2**62] * 1_000
    )
    wanted = [Wanted(one.task, one.sha256, float(one.num_examples), 1.0, bytes(32)) for one in results]
    verdict = pb.Verdict(outcome=pb.OUTCOME_COMMITTED, model="digits/5")
    said = {
        "asked": tier.Downward(relay=tier.Relay(tasks=[asked])),
        "sent": tier.Upward(work=tier.Work(sent=[tier.Sent(session=SESSION, tasks=tasks)])),
        "reported": tier.Upward(reports=tier.Reports(held=batches(results, roll.number))),
        "flushed": tier.Downward(flush=tier.Flush(session=SESSION, shares=words.shares(wanted))),
        "summed": tier.Delivery(partial=tier.Partial(session=SESSION, tasks=tasks)),
        "settled": tier.Downward(
            answers=tier.Answers(settled=[tier.Settled(session=SESSION, tasks=tasks, said=verdict)])
        ),
    }
    bytes_each = {what: round(message.ByteSize() / 1_000) for what, message in said.items()}
    assert bytes_each == {"asked": 11, "sent": 1, "reported": 77, "flushed": 25, "summed": 1, "settled": 1}


def test_metrics_that_are_said_once_are_made_once(roll: Roll) -> None:
    before = {"validate": Measured(7, {"loss": 2.0})}
    said = [result(n, metrics={"loss": 1.0}, before=before) for n in range(3)]
    found = heard(batches(said, roll.number), roll)
    assert [one.metrics for one in found] == [{"loss": 1.0}] * 3
    assert len({id(one.metrics) for one in found}) == 1
    assert len({id(one.before["validate"].metrics) for one in found}) == 1


def test_numbers_that_ascend_are_told_by_their_distances() -> None:
    assert gaps([7, 8, 9, 300]) == [7, 1, 1, 291]
    assert numbers([7, 1, 1, 291]) == [7, 8, 9, 300]
    assert numbers([2**32 - 1]) == [2**32 - 1]
    with pytest.raises(ValueError, match="a task of number 4,294,967,296, at most 4,294,967,295"):
        numbers([2**32 - 1, 1])


def test_a_column_of_equal_rows_is_one_row() -> None:
    assert column([(1, 2), (1, 2)]) == [1, 2] == list(rows([1, 2], 2, 2)[1])
    assert column([(1, 2), (3, 4)]) == [1, 2, 3, 4]
    assert rows([1, 2, 3, 4], 2, 2) == [[1, 2], [3, 4]]
    assert (column(list[tuple[int, ...]]()), rows([], 0, 2)) == ([], [[], []])
    with pytest.raises(ValueError, match="3 values for 2 rows of 2"):
        rows([1, 2, 3], 2, 2)
    with pytest.raises(ValueError, match="5 bytes for 2 times 2"):
        cut(b"12345", 2, 2)
