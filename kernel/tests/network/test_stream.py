"""One Connect call: what is said, in which order, and how it ends."""

import asyncio
from typing import Any

import grpc
import pytest

from fedk.api.errors import StateError
from fedk.network import stream as room
from fedk.network.calls import Ended
from fedk.network.stream import CROWDED, Message, Stream
from fedk_protocol.v1 import federation_pb2 as pb


class Call:
    """gRPC's side of a call, by hand: a client that takes words only while `listening`."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.spoken = asyncio.Event()
        self.questions: asyncio.Queue[bytes] = asyncio.Queue()
        self.listening = asyncio.Event()
        self.listening.set()

    async def write(self, data: bytes) -> None:
        await self.listening.wait()
        self.written.append(data)
        self.spoken.set()

    async def read(self) -> bytes:
        return await self.questions.get()


def nothing() -> Message | None:
    return None


def stream(call: Call, pull: Any = nothing, *, also: bool = False) -> Stream:
    return Stream(call, pull, also=also)  # type: ignore[arg-type]  # gRPC's context is wider


def word(text: str) -> bytes:
    return pb.ServerMessage(drain=pb.Drain(reason=text)).SerializeToString()


def words(call: Call) -> list[list[str]]:
    """What was said, by message."""
    found = [pb.ServerMessage.FromString(data) for data in call.written]
    return [[one.drain.reason for one in (message, *message.also)] for message in found]


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_words_leave_in_order_and_before_what_is_pulled() -> None:
    call, sent = Call(), asyncio.Event()
    tasks = iter([Message((b"task",), sent.set)])
    said = stream(call, lambda: next(tasks, None))
    for data in (b"welcome", b"receipt"):
        said.say(data)
    run = asyncio.create_task(said.run(for_ever()))
    await sent.wait()
    said.end()
    await run
    assert call.written == [b"welcome", b"receipt", b"task"]


async def test_a_patient_word_leaves_alone_when_its_time_has_come() -> None:
    call = Call()
    said = stream(call)
    run = asyncio.create_task(said.run(for_ever()))
    said.say(word("receipt"), patience=0.02)
    await asyncio.sleep(0)  # the writer has looked
    assert call.written == []
    async with asyncio.timeout(5):  # a word that never leaves fails
        await call.spoken.wait()
    assert words(call) == [["receipt"]]
    said.end()
    await run


@pytest.mark.parametrize("also", [False, True])
@pytest.mark.parametrize("hurry", ["a word", "a task", "the end", "a crowd"])
async def test_a_patient_word_leaves_with_or_before_the_next_one(also: bool, hurry: str) -> None:
    call, tasks = Call(), list[Message]()
    said = stream(call, lambda: tasks.pop() if tasks else None, also=also)
    run = asyncio.create_task(said.run(for_ever()))
    said.say(word("receipt"), patience=60)
    if hurry == "a word":
        said.say(word("next"))
    elif hurry == "a task":
        tasks.append(Message((word("next"),)))
        said.wake()
        await call.spoken.wait()  # at its end a stream pulls nothing more
    elif hurry == "a crowd":
        for _ in range(CROWDED - 1):
            said.say(word("next"), patience=60)
        call.questions.put_nowait(b"result")
        assert await said.read() == b"result"
    said.end()
    await run
    expected = ["receipt", *["next"] * {"the end": 0, "a crowd": CROWDED - 1}.get(hurry, 1)]
    assert words(call) == ([expected] if also else [[one] for one in expected])


async def test_words_that_travel_together_make_no_message_without_bounds() -> None:
    call, large, over = Call(), (word("x" * room.PARCEL),), asyncio.Event()
    tasks = [Message(large, over.set), Message(large), Message(large)]
    said = stream(call, lambda: tasks.pop() if tasks else None, also=True)
    run = asyncio.create_task(said.run(for_ever()))
    said.say(word("welcome"))
    await over.wait()
    assert [len(message) for message in words(call)] == [2, 1, 1]
    said.end()
    await run


async def test_what_is_queued_is_said_before_the_end_and_nothing_is_pulled() -> None:
    call = Call()
    said = stream(call, lambda: Message((b"task",)))
    said.say(b"superseded")
    said.end(Ended(grpc.StatusCode.ABORTED, "superseded"))
    said.end()  # the first word counts
    with pytest.raises(Ended, match="ABORTED superseded"):
        await said.run(for_ever())
    assert call.written == [b"superseded"]


async def test_nothing_is_read_from_a_client_that_takes_no_words() -> None:
    call = Call()
    call.listening.clear()
    said = stream(call)
    run = asyncio.create_task(said.run(for_ever()))
    for _ in range(CROWDED + 1):
        said.say(b"verdict")
    call.questions.put_nowait(b"result")
    reading = asyncio.create_task(said.read())
    for _ in range(10):
        await asyncio.sleep(0)  # hands over
    assert not reading.done()
    call.listening.set()
    assert await reading == b"result"
    said.end()
    await run


async def test_a_client_that_is_dead_cannot_hold_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FAREWELL", 0.02)
    call = Call()
    call.listening.clear()
    said = stream(call)
    run = asyncio.create_task(said.run(for_ever()))
    said.say(b"superseded")
    await asyncio.sleep(0)  # it has begun
    said.end(Ended(grpc.StatusCode.ABORTED, "superseded"))
    async with asyncio.timeout(20):  # it would be held for ever
        with pytest.raises(Ended):
            await run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Ended(grpc.StatusCode.INVALID_ARGUMENT, "no"), grpc.StatusCode.INVALID_ARGUMENT),
        (StateError("disk full"), grpc.StatusCode.UNAVAILABLE),
        (ZeroDivisionError(), grpc.StatusCode.INTERNAL),
    ],
)
async def test_what_reading_raises_ends_the_call(error: Exception, code: grpc.StatusCode) -> None:
    async def read() -> None:
        raise error

    with pytest.raises(Ended) as caught:
        await stream(Call()).run(read())
    assert caught.value.code is code


async def test_a_client_that_has_said_all_ends_it_well() -> None:
    async def read() -> None:
        return

    await stream(Call()).run(read())


async def test_a_client_that_hangs_up_ends_its_reader() -> None:
    reading = asyncio.Event()

    async def read() -> None:
        try:
            reading.set()
            await for_ever()
        finally:
            reading.clear()

    run = asyncio.create_task(stream(Call()).run(read()))
    await reading.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not reading.is_set()
