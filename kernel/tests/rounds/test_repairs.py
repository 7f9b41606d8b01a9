"""What blocks a session is over: by a timer, by a restart. A whole server without a wire."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kernel.tests.rounds.test_gates import gates, paused, until

from fedk.api.errors import StateError
from fedk.api.hooks import hookimpl
from fedk.blobs.part import Part, Stored
from fedk.rounds.repairs import Repairs, patience
from fedk.testing.site import Play, site, weights

RULES: dict[str, Any] = {"rounds": 1, "clients": {"min": 1}, "validation": {"every": 0}}


def test_the_wait_doubles_from_1_s_to_60_s() -> None:
    assert [patience(n) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert patience(10_000) == 60


async def test_a_session_that_is_taken_up_by_a_person_waits_on_from_where_it_was_if_it_fails_again() -> None:
    repairs = Repairs(lambda _: None)
    for _ in range(3):
        repairs.failed("s")
    assert 3 < (repairs.left("s") or 0) <= 4
    repairs.rest("s")
    assert repairs.left("s") is None
    repairs.failed("s")
    assert 7 < (repairs.left("s") or 0) <= 8
    repairs.done("s")
    repairs.failed("s")
    assert 0 < (repairs.left("s") or 0) <= 1
    repairs.close()
    assert repairs.left("s") is None


async def test_a_model_that_cannot_be_stored_is_made_again_after_a_second_and_the_session_says_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path) as here:
        await here.players.join("a")
        model = await here.put()
        with here.desk.feed.listen() as listener:
            with monkeypatch.context() as disk:
                disk.setattr(Part, "seal", _full)
                await here.rest.post("/api/v1/sessions", json={"name": "digits-1", "model": model, **RULES})
                assert await until(listener, "session.paused")
                (waits,) = (await here.get("sessions/digits-1"))["waiting_for"]
            assert waits["why"] == "model 1 cannot be stored: no space left"
            assert 0 < waits["again_in"] <= 1
            assert await until(listener, "session.finished")


def _full(_: Part) -> None:
    raise StateError("no space left")


async def test_a_model_that_is_damaged_as_soon_as_it_is_stored_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal, size = Part.seal, len(weights(0.0))

    def damaged(part: Part) -> Stored:
        stored = seal(part)
        if stored.size == size:  # the model; the optimiser's state has two tensors and stays whole
            next(tmp_path.rglob(stored.sha256.hex())).write_bytes(b"damaged")
        return stored

    async with site(tmp_path) as here:
        await here.players.join("a")
        model = await here.put()
        before = open_blobs(tmp_path)
        monkeypatch.setattr(Part, "seal", damaged)
        with here.desk.feed.listen() as listener:
            body = {"name": "digits-1", "model": model, "aggregator": {"use": "fedadam"}, **RULES}
            await here.rest.post("/api/v1/sessions", json=body)
            assert await until(listener, "session.paused")
        (waits,) = (await here.get("sessions/digits-1"))["waiting_for"]
        assert "is damaged" in waits["why"]
        assert [path.stat().st_size for path in open_blobs(tmp_path) - before] == [size], (
            "the first model, and nothing of the next"
        )


def open_blobs(folder: Path) -> Counter[Path]:
    """Blobs that this process has open."""
    opened = [handle.readlink() for handle in Path("/proc/self/fd").iterdir() if handle.exists()]
    return Counter(path for path in opened if path.is_relative_to(folder / "blobs"))


async def test_what_a_person_must_bring_is_asked_for_once_more_by_a_restart_and_by_no_timer(tmp_path: Path) -> None:
    class Guard:
        @hookimpl
        def clients_selected(self) -> None:
            raise ValueError("no register")

    async with site(tmp_path, gates=gates(Guard())) as here:
        await here.players.join("a")
        found = await paused(here, **RULES)
        assert (found["waiting_for"][0]["for"], found["waiting_for"][0]["again_in"]) == ("repair", None)
    async with site(tmp_path) as here:
        with here.desk.feed.listen() as listener:
            await here.players.join("a")
            assert await until(listener, "session.finished")


async def test_a_round_that_is_tried_again_and_fails_in_the_same_moment_has_had_both_attempts(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.players.join("a", Play(fail="raised"))
        found = await here.start(until="session.failed", **{**RULES, "round": {"retries": 1}})
        assert "attempt 2 of 2" in found["why"]
        assert found["current"]["attempts"] == 2
