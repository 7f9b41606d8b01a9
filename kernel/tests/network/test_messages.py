"""What the server says, read back as a client reads it."""

from dataclasses import replace

import pytest
from kernel.tests.network.offering import model, work

from fedk.network import messages
from fedk.network.messages import Refusal, Tasks, settles
from fedk.rounds.clients import Offer, Receipt, SendFrom, Verdict
from fedk_protocol.v1 import federation_pb2 as pb


def test_a_task_says_what_its_round_and_its_client_have() -> None:
    common = work(
        before=("validate",),
        round=3,
        inputs={"model": model(b"weights"), "control": model(b"x" * 9, inline=False)},
        settings='{"lr": 0.1}',
        wants=("local_steps",),
        sets=("control",),
        remaining=lambda: 12.5,
    )
    task = pb.ServerMessage.FromString(b"".join(Tasks().message(Offer("t1", "c1", 2**63 - 1, common)))).task
    assert (task.id, task.session, task.kind, task.round, task.seed) == ("t1", "s1-name", "train", 3, 2**63 - 1)
    assert (list(task.before), task.settings, task.remaining) == (["validate"], '{"lr": 0.1}', 12.5)
    assert (list(task.wants), list(task.sets)) == (["local_steps"], ["control"])
    assert task.inputs["model"].inline == b"weights"
    assert (task.inputs["control"].size, task.inputs["control"].HasField("inline")) == (9, False)


def test_the_bytes_of_a_task_are_those_of_one_message() -> None:
    common = work(inputs={"model": model(b"w" * 40_000)})
    message = pb.ServerMessage.FromString(b"".join(Tasks().message(Offer("t1", "c1", 1, common))))
    assert pb.ServerMessage.FromString(message.SerializeToString()) == message
    assert message.WhichOneof("kind") == "task"


def test_what_a_round_has_in_common_is_encoded_once_and_the_time_each_time() -> None:
    times = iter([10.0, 5.0])
    common = work(inputs={"model": model(b"weights")}, remaining=lambda: next(times))
    tasks = Tasks()
    first = pb.ServerMessage.FromString(b"".join(tasks.message(Offer("t1", "c1", 1, common)))).task
    common.inputs["model"] = model(b"other")  # type: ignore[index]  # to see that it is not looked at again
    second = pb.ServerMessage.FromString(b"".join(tasks.message(Offer("t2", "c2", 2, common)))).task
    assert (first.remaining, second.remaining, second.id) == (10.0, 5.0, "t2")
    assert second.inputs["model"].inline == b"weights"


def test_rounds_long_past_are_forgotten() -> None:
    tasks = Tasks()
    for n in range(100):
        tasks.message(Offer(f"t{n}", "c1", 1, work(round=n)))
    assert len(tasks._common) == 32


def test_equal_rounds_of_two_sessions_are_two() -> None:
    tasks, one = Tasks(), work()
    tasks.message(Offer("t1", "c1", 1, one))
    other = tasks.message(Offer("t1", "c1", 1, replace(one, session_name="other")))
    assert pb.ServerMessage.FromString(b"".join(other)).task.session == "other"


def test_words_together_are_the_first_one_with_the_others_in_their_order() -> None:
    receipt, verdict = messages.said(Receipt("t1", "r1")), messages.said(Verdict("t1", "r1", "committed", "s/1"))
    task = Tasks().message(Offer("t2", "c1", 1, work()))
    found = pb.ServerMessage.FromString(messages.together([(receipt,), (verdict,), task]))
    assert (found.receipt.task, found.also[0].verdict.task, found.also[1].task.id) == ("t1", "t1", "t2")
    assert messages.together([(receipt,)]) == receipt


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 524_288])
def test_a_chunk_of_any_size_is_a_message(size: int) -> None:
    assert pb.Chunk.FromString(messages.chunk(b"x" * size)).data == b"x" * size


def test_answers_on_the_stream_and_to_an_upload_say_the_same() -> None:
    verdict = Verdict("t1", "r1", "committed", "digits-1/3")
    assert pb.ServerMessage.FromString(messages.said(verdict)).verdict == pb.Verdict(
        task="t1", result_id="r1", outcome=pb.OUTCOME_COMMITTED, model="digits-1/3"
    )
    assert pb.UploadReply.FromString(messages.uploaded(verdict)).verdict.model == "digits-1/3"
    assert pb.UploadReply.FromString(messages.uploaded(SendFrom("t1", "r1", 9))).send_from.offset == 9
    assert pb.ServerMessage.FromString(messages.said(Receipt("t1", "r1"))).receipt.result_id == "r1"


@pytest.mark.parametrize("outcome", ["committed", "recorded", "rejected", "failed", "lost", "cancelled"])
def test_every_outcome_has_its_word(outcome: str) -> None:
    said = pb.ServerMessage.FromString(messages.said(Verdict("t1", "r1", outcome))).verdict.outcome
    assert pb.Outcome.Name(said) == f"OUTCOME_{outcome.upper()}"


def test_a_refusal_says_that_nothing_is_settled() -> None:
    refusal = Refusal("t1", "r1", "spool-full", "no room")
    assert pb.ServerMessage.FromString(messages.said(refusal)).refusal.retry
    assert not settles(refusal)
    assert not settles(SendFrom("t1", "r1", 0))
    assert settles(Receipt("t1", "r1"))
    assert settles(Verdict("t1", "r1", "rejected"))
