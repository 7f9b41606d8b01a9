"""What a session's rules keep: the query's answer is the one that a person would give model by model."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, insert

from fedk.rounds.retention import MODEL, SENT, STATE, UPDATE, Retention, references
from fedk.rounds.rules import Rules
from fedk.state import tables as t

MODELS = 13


@pytest.fixture(scope="module")
def db() -> Iterator[Connection]:
    """A session of 13 models, 0 … 12; each has bytes, state, what went out, and one update."""
    engine = create_engine("sqlite://")
    t.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(insert(t.models), [row(no) for no in range(MODELS)])
        connection.execute(insert(t.blob_refs), [ref(kind, no) for kind in KINDS for no in range(MODELS)])
        yield connection
    engine.dispose()


KINDS = (MODEL, STATE, SENT, UPDATE)


def row(no: int) -> dict[str, Any]:
    empty = dict.fromkeys(("digest", "config_hash"), b"") | dict.fromkeys(("aggregator", "aggregator_version"), "")
    rest = {"state_scalars": {}, "seconds": {}, "committed_at": 0.0, "sha256": b"", "bytes": 0}
    return {"id": f"m{no}", "project": "p", "session": "s", "round": no, **empty, **rest}


def ref(kind: str, no: int) -> dict[str, Any]:
    return {"project": "p", "sha256": f"{kind}{no}".encode(), "ref_kind": kind, "ref_id": f"m{no}"}


def kept(db: Connection, retention: Retention) -> dict[str, set[int]]:
    dropped = {(one.ref_kind, one.ref_id) for one in db.execute(references("s", retention, 1_000))}
    return {kind: {no for no in range(MODELS) if (kind, f"m{no}") not in dropped} for kind in KINDS}


def by_hand(rule: str, no: int, head: int) -> bool:
    name, _, number = rule.partition(":")
    if name == "last":
        return head - no < int(number)
    return name == "all" or (name == "every" and no % int(number) == 0)


updates_keep = st.sampled_from(["verdict", "all", "last:1", "last:3"])
models_keep = st.sampled_from(["all", "last:1", "last:2", "last:5", "every:1", "every:4"])


@given(updates_keep, models_keep, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 12)), st.data())
@settings(max_examples=300, deadline=None)
def test_the_query_keeps_what_a_person_would(  # noqa: PLR0917 — hypothesis gives them by position
    db: Connection, updates: str, models: str, bases: set[int], tagged: set[int], data: st.DataObject
) -> None:
    head, over = MODELS - 1, data.draw(st.booleans(), "over")
    stale = data.draw(st.sampled_from([None, 0, 2]), "max_staleness")
    rules = Rules.model_validate(
        {"updates": {"keep": updates}, "models": {"keep": models}}
        | ({"mode": "async", "async": {"max_staleness": stale}} if stale is not None else {})
    )
    db.execute(delete(t.model_tags))
    if tagged:
        db.execute(insert(t.model_tags), [{"project": "p", "name": f"t{no}", "model": f"m{no}"} for no in tagged])
    replayable = [no for no in range(MODELS) if by_hand(updates, no, head)]
    found = kept(db, Retention(rules, head, over, frozenset(bases), min(replayable, default=None)))
    replay = {base for no in replayable for base in (no, *range(no - 1 - (stale or 0), no))}
    serving = set() if over else {head, *bases}
    everyone = set(range(MODELS))
    assert found[UPDATE] == set(replayable)
    assert found[SENT] == serving & everyone
    assert found[STATE] == (serving | replay) & everyone
    ruled = {no for no in everyone if by_hand(models, no, head)}
    assert found[MODEL] == ({head} | serving | replay | tagged | ruled) & everyone


@pytest.mark.parametrize("rule", ["none", "last", "last:0", "every:0", "last:-1", "every", "all:3"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    for table in ("models", "updates"):
        with pytest.raises(ValueError, match=rf"{table}.keep"):
            Rules.model_validate({table: {"keep": rule}})


def test_the_last_two_of_twelve_are_eleven_and_twelve(db: Connection) -> None:
    rules = Rules.model_validate({"models": {"keep": "last:2"}})
    db.execute(delete(t.model_tags))
    found = kept(db, Retention(rules, 12, False, frozenset(), None))
    assert found == {MODEL: {11, 12}, STATE: {12}, SENT: {12}, UPDATE: set()}
