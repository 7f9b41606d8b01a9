import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.testing.protocol import PATIENCE
from fedk_client.assignment import Answer, Assignment
from fedk_client.disk import Disk
from fedk_client.errors import AppError, StateError
from fedk_client.kept import Body, Kept
from fedk_client.outbox import Outbox
from fedk_client.shelf import Memory, Shelf
from fedk_protocol.codec import Arrays, BadBlob, Safetensors


def answer(value: float = 1.0, *, state: float | None = None) -> Answer:
    held = {} if state is None else {"c": np.array([state])}
    return Answer(blobs={"model": {"w": np.full(3, value)}, "control": {"w": np.zeros(3)}}, num_examples=5, state=held)


def asked(task: str, number: int = 1, session: str = "s") -> Assignment:
    return Assignment(id=task, session=session, round=number)


def on_disk(path: Path) -> Disk:
    return Disk(path, project="default", name="a")


def values(state: Arrays) -> list[float]:
    array: NDArray[np.float64] | None = state.get("c")
    return [] if array is None else array.tolist()


@pytest.fixture(params=["memory", "disk"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    made: dict[str, Callable[[], Shelf]] = {"memory": Memory, "disk": lambda: on_disk(tmp_path)}
    return made[request.param]()


def test_a_result_is_kept_with_sizes_and_hashes_until_its_verdict(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    kept = outbox.keep(asked("t"), answer())
    parts = [Safetensors().dumps(arrays) for _, arrays in sorted(answer().blobs.items())]
    whole = b"".join(parts)
    assert (kept.sha256, kept.size) == (sha256(whole).digest(), len(whole))
    assert [kept.result.blobs[name].sha256 for name in ("control", "model")] == [
        sha256(part).digest() for part in parts
    ]
    assert b"".join(kept.chunks(10, 64)) == whole[10:]
    assert [kept.message().result.blobs[name].inline for name in ("control", "model")] == parts
    assert outbox.find("t") is kept
    assert outbox.settle("t", kept.result_id, committed=True) is kept
    assert outbox.find("t") is None
    assert len(outbox) == 0


def test_the_state_moves_only_when_its_update_is_committed(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    assert outbox.state("s", 1) == {}
    kept = outbox.keep(asked("t1", 1), answer(state=1.0))
    assert outbox.state("s", 2) == {}
    outbox.settle("t1", kept.result_id, committed=False)
    assert outbox.state("s", 2) == {}
    kept = outbox.keep(asked("t2", 2), answer(state=2.0))
    outbox.settle("t2", kept.result_id, committed=True)
    assert values(outbox.state("s", 3)) == [2.0]
    assert outbox.state("other session", 3) == {}


class Slowly(Disk):
    """Writes, or keeps, once it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, project="default", name="a")
        self.step, self.begun, self.let = "", threading.Event(), threading.Event()

    def write(self, result_id: str, chunks: Iterable[bytes | memoryview]) -> Body:
        self._wait("write")
        return super().write(result_id, chunks)

    def keep(self, kept: Kept, state: bytes) -> None:
        self._wait("keep")
        super().keep(kept, state)

    def _wait(self, step: str) -> None:
        if self.step == step:
            self.begun.set()
            self.let.wait()


@pytest.mark.parametrize("step", ["write", "keep"])
def test_while_a_result_is_written_the_connection_finds_lists_and_settles_others(tmp_path: Path, step: str) -> None:
    """A model of 1 GB takes a disk seconds, in which the server would be left without an answer."""
    shelf = Slowly(tmp_path)
    outbox = Outbox(shelf)
    kept = outbox.keep(asked("t1"), answer(state=1.0))
    shelf.step = step
    with ThreadPoolExecutor() as threads:
        keeping = threads.submit(outbox.keep, asked("t2", 2), answer())
        try:
            assert shelf.begun.wait(PATIENCE)
            assert threads.submit(outbox.find, "t1").result(PATIENCE) is kept
            assert threads.submit(list, outbox).result(PATIENCE) == [kept]
            assert threads.submit(outbox.settle, "t1", kept.result_id, committed=True).result(PATIENCE) is kept
            assert values(threads.submit(outbox.state, "s", 2).result(PATIENCE)) == [1.0]
        finally:
            shelf.let.set()
        later = keeping.result(PATIENCE)
        assert list(outbox) == [later]


def test_a_committed_update_without_a_state_leaves_none(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    for number, state in ((1, 1.0), (2, None)):
        kept = outbox.keep(asked(f"t{number}", number), answer(state=state))
        outbox.settle(kept.task, kept.result_id, committed=True)
    assert outbox.state("s", 3) == {}


def test_verdicts_in_another_order_do_not_turn_the_state_back(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    older, newer = (outbox.keep(asked(f"t{number}", number), answer(state=number)) for number in (1, 2))
    outbox.settle(newer.task, newer.result_id, committed=True)
    outbox.settle(older.task, older.result_id, committed=True)
    assert values(outbox.state("s", 3)) == [2.0]


def test_a_state_from_a_later_round_is_of_an_older_session_with_this_name(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    kept = outbox.keep(asked("t", 5), answer(state=1.0))
    outbox.settle("t", kept.result_id, committed=True)
    assert outbox.state("s", 1) == {}


def test_a_verdict_on_another_result_of_the_task_forgets_this_one_and_its_state(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    outbox.keep(asked("t"), answer(state=1.0))
    assert outbox.settle("unknown", "x", committed=True) is None
    assert outbox.settle("t", "some other result", committed=True) is not None
    assert len(outbox) == 0
    assert outbox.state("s", 2) == {}


def test_what_the_model_becomes_later_does_not_reach_a_kept_result(shelf: Shelf) -> None:
    array = np.zeros(3)
    kept = Outbox(shelf).keep(asked("t"), Answer(blobs={"model": {"w": array}}))
    array += 1
    assert Safetensors().decode(bytes(kept.body.read(0, kept.size)))["w"].tolist() == [0, 0, 0]


def test_arrays_that_the_format_lacks_are_refused_and_nothing_is_kept(shelf: Shelf) -> None:
    outbox = Outbox(shelf)
    with pytest.raises(BadBlob, match="w is object"):
        outbox.keep(asked("t"), Answer(blobs={"model": {"w": np.array([None])}}))
    assert len(outbox) == 0


def test_a_result_without_bytes_is_kept_like_any_other(shelf: Shelf) -> None:
    kept = Outbox(shelf).keep(asked("t"), Answer(num_examples=2, metrics={"accuracy": 0.5}))
    assert (kept.size, kept.largest, kept.sha256) == (0, 0, sha256().digest())


def test_a_new_process_finds_results_and_states_by_round(tmp_path: Path) -> None:
    before = Outbox(on_disk(tmp_path))
    for number in (3, 1, 2):
        before.keep(asked(f"t{number}", number), answer(number, state=number))
    found = Outbox(on_disk(tmp_path))
    assert [(kept.task, kept.round, kept.session) for kept in found] == [("t1", 1, "s"), ("t2", 2, "s"), ("t3", 3, "s")]
    one, again = before.find("t1"), found.find("t1")
    assert one is not None
    assert again is not None
    assert one.message() == again.message()
    found.settle("t1", again.result_id, committed=True)
    assert values(Outbox(on_disk(tmp_path)).state("s", 2)) == [1.0]
    assert len(Outbox(on_disk(tmp_path))) == 2


def test_a_crash_between_the_promotion_and_the_dropping_is_harmless(tmp_path: Path) -> None:
    shelf = on_disk(tmp_path)
    kept = Outbox(shelf).keep(asked("t"), answer(state=1.0))
    shelf.promote(kept)
    outbox = Outbox(on_disk(tmp_path))
    assert outbox.settle("t", kept.result_id, committed=True) is not None
    assert values(outbox.state("s", 2)) == [1.0]


def test_a_half_written_result_was_never_kept(tmp_path: Path) -> None:
    shelf = on_disk(tmp_path)
    shelf.write("half", [b"some bytes"])
    assert len(Outbox(on_disk(tmp_path))) == 0
    assert not list(tmp_path.rglob("half*"))


def test_a_damaged_result_is_dropped_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(on_disk(tmp_path))
    damaged, whole = outbox.keep(asked("t1"), answer()), outbox.keep(asked("t2"), answer())
    next(tmp_path.rglob(f"{damaged.result_id}.blobs")).write_bytes(b"short")
    assert [kept.task for kept in Outbox(on_disk(tmp_path))] == [whole.task]
    assert f"kept result {damaged.result_id} is damaged and dropped" in caplog.text
    next(tmp_path.rglob(f"{whole.result_id}.json")).write_text("{}")
    assert len(Outbox(on_disk(tmp_path))) == 0


def test_two_clients_may_share_a_state_directory(tmp_path: Path) -> None:
    for name in ("a", "..", "a/b"):
        Outbox(Disk(tmp_path, project="p/q", name=name)).keep(asked("t"), answer())
        assert len(Outbox(Disk(tmp_path, project="p/q", name=name))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p%2Fq="]


@pytest.mark.parametrize("what", ["blobs", "state"])
def test_a_result_that_cannot_be_kept_leaves_no_file(tmp_path: Path, what: str) -> None:
    words = {"w": np.array(["no", "numbers"])}
    bad = (
        Answer(blobs={"a": {"w": np.zeros(3)}, "model": words})
        if what == "blobs"
        else Answer(blobs={"model": {"w": np.zeros(3)}}, state=words)
    )
    outbox = Outbox(on_disk(tmp_path))
    with pytest.raises(BadBlob):
        outbox.keep(asked("t"), bad)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_is_full_is_not_filled_by_what_it_had_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    outbox = Outbox(on_disk(tmp_path))
    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="No space"):
        outbox.keep(asked("t"), answer())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_fails_at_a_verdict_is_named_and_the_verdict_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    outbox = Outbox(on_disk(tmp_path))
    kept = outbox.keep(asked("t"), answer(state=1.0))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fails)
        with pytest.raises(StateError, match=f"state directory {tmp_path} cannot be used: .* Input/output error"):
            outbox.settle("t", kept.result_id, committed=True)
    again = Outbox(on_disk(tmp_path))
    assert [one.result_id for one in again] == [kept.result_id]
    again.settle("t", kept.result_id, committed=True)
    assert values(again.state("s", 2)) == [1.0]


def test_a_new_process_finds_the_results_of_one_round_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    """A client of an asynchronous session answers more than once in a round."""
    for start in (0, 10):  # of two processes
        outbox = Outbox(on_disk(tmp_path))
        made = [outbox.keep(asked(f"t{start + n}"), answer(state=start + n)) for n in range(10)]
    assert [kept.task for kept in Outbox(on_disk(tmp_path))] == [f"t{n}" for n in range(20)]
    again = Outbox(on_disk(tmp_path))
    for kept in reversed(made):
        again.settle(kept.task, kept.result_id, committed=True)
    assert values(again.state("s", 1)) == [19.0]


@pytest.mark.parametrize("text", ["[]", "null", '{"result": "/////w==", "session": "s", "round": 1}', '{"result": 5}'])
def test_a_result_whose_words_are_damaged_is_dropped_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    Outbox(on_disk(tmp_path)).keep(asked("t"), answer())
    (path,) = tmp_path.rglob("*.json")
    path.write_text(text)
    assert len(Outbox(on_disk(tmp_path))) == 0
    assert "damaged and dropped" in caplog.text


@pytest.mark.parametrize("stays", ["result", "state"])
def test_results_and_states_do_not_fill_the_machine(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, stays: str) -> None:
    """A server that never judges, or that has a new session's name for each task."""
    monkeypatch.setattr("fedk_client.shelf.ROOM", 100)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=100))
    outbox = Outbox(shelf)
    outbox.check_room()
    kept = outbox.keep(asked("t"), answer(state=1.0))
    if stays == "state":
        outbox.settle("t", kept.result_id, committed=True)
    with pytest.raises(StateError, match=r"results without a verdict, and what sessions left here, take [0-9,]+ bytes"):
        outbox.check_room()
    outbox.settle("t", kept.result_id, committed=False)
    if stays == "result":
        outbox.check_room()


def test_a_result_with_more_words_than_servers_take_is_not_kept(shelf: Shelf) -> None:
    """A server ends the stream of whoever sends it, at each start anew."""
    outbox = Outbox(shelf)
    metrics = {f"a metric of some length, number {n}": 1.0 for n in range(8_000)}
    with pytest.raises(AppError, match="8,000 metrics"):
        outbox.keep(asked("t"), Answer(num_examples=1, metrics=metrics))
    assert len(outbox) == 0
