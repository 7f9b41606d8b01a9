"""`fedk client` against a server behind a real port."""

import json
from typing import Any

from fedk.testing.site import Play, Served


def test_a_list_says_who_is_there_and_what_they_did(fedk: Any, served: Served) -> None:
    assert fedk("client", "list").out == "no clients yet: fedk-client run APP --server HOST:PORT --name NAME\n"
    served.do(served.site.players.join("a", Play(examples=360), site="north"))
    served.do(served.site.players.join("b", Play(examples=188)))
    served.do(served.site.start(until="session.finished", rounds=2, validation={"every": 0}))
    lines = fedk("client", "list").out.splitlines()
    assert lines[0].split("  ")[0] == " name"
    assert lines[1].split() == ["a", "connected", "–", "now", "360", "2", "0", "site=north"]
    assert lines[2].split() == ["b", "connected", "–", "now", "188", "2", "0"]
    assert lines[3] == "2 clients, 2 connected: fedk client show a"
    assert [one["name"] for one in json.loads(fedk("client", "list", "--json").out)] == ["a", "b"]


def test_a_lost_client_says_how_long_it_is_still_counted(fedk: Any, served: Served) -> None:
    lost = served.do(served.site.players.join("a"))

    async def leave() -> None:
        served.site.players.leave(lost, "lost")
        await served.site.players.join("b")  # its row is written after the loss

    served.do(leave())
    row = fedk("client", "list").out.splitlines()[1]
    assert row.split()[:3] == ["a", "lost", "(present"]
    assert " s more)" in row


def test_one_client_shows_how_its_tasks_ended(fedk: Any, served: Served) -> None:
    served.do(served.site.players.join("a"))
    served.do(served.site.players.join("b", Play(refuse="non-finite", detail="w has 1 NaN of 4")))
    served.do(served.site.start(until="session.failed", round={"retries": 0}, validation={"every": 0}))
    lines = fedk("client", "show", "b").out.splitlines()
    assert lines[0] == "b   connected"
    assert "updates    0 accepted, 1 refused; 0 tasks failed" in lines
    assert lines[-1].split() == ["digits-1/1", "train", "rejected", *["non-finite,", "w", "has", "1", "NaN", "of", "4"]]
    unknown = fedk("client", "show", "zoe")
    assert (unknown.code, unknown.err) == (1, 'fedk: no client "zoe". There are: b, a\n')


def test_what_strangers_wrote_steers_no_terminal(fedk: Any, served: Served) -> None:
    bad = Play(refuse="non-finite", detail="\x1b]0;title\x07w\u202e\n forged\x9b2J")
    served.do(served.site.players.join("a"))
    served.do(served.site.players.join("b", bad, site="\x1b[2J"))
    served.do(served.site.start(until="session.failed", round={"retries": 0}, validation={"every": 0}))
    for words in (("client", "list"), ("client", "show", "b"), ("session", "show"), ("session", "watch")):
        for form in ((), ("--json",)):
            lines = fedk(*words, *form).out.split("\n")
            assert all(map(str.isprintable, lines)), lines
    assert "\\x1b]0;title\\x07w\\u202e\\n forged\\x9b2J" in fedk("client", "show", "b").out
    assert json.loads(fedk("client", "show", "b", "--json").out)["attributes"] == {"site": "\x1b[2J"}
