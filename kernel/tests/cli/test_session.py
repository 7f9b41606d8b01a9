"""`fedk session` against a server behind a real port; its clients are players."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from fedk.cli.screens.session import ENDINGS
from fedk.rounds import states
from fedk.testing.site import Play, Served

GOOD = Play(loss=0.25, accuracy=0.75, examples=36)

APP = """\
import numpy as np
from fedk_client import ClientApp

app = ClientApp(model=lambda: {"w": np.zeros(4)})
"""


def written(text: str, name: str = "session.toml") -> Path:
    path = Path("digits", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def joined(served: Served, *names: str) -> None:
    for name in names:
        served.do(served.site.players.join(name, GOOD))


def finished(served: Served, name: str = "digits-1", **rules: Any) -> None:
    joined(served, "a", "b")
    served.do(served.site.start(name, until="session.finished", **rules))


def test_a_session_starts_from_the_app_that_its_file_names(fedk: Any, served: Served) -> None:
    written(APP, "client.py")
    joined(served, "a")
    file = written('rounds = 3\nmodel = "client.py:app"\n')
    outcome = fedk("session", "start", str(file))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "digits-1   initial model from client.py:app (136 B)   1 client of 2 (a), waiting for 1 more   fedk session watch\n"
    )
    assert served.do(served.site.get("models/digits-1/0"))["weights"] == 4


def test_a_session_starts_from_a_file_from_another_session_or_from_a_client(fedk: Any, served: Served) -> None:
    finished(served, rounds=2)
    Path("digits").mkdir()
    served_model = served.do(served.site.rest.get("/api/v1/models/digits-1/2/content")).content
    Path("digits", "M.safetensors").write_bytes(served_model)
    first = served.do(served.site.get("models/digits-1/2"))["sha256"]
    for name, model in (("two", 'model = "M.safetensors"'), ("three", 'model = "digits-1/2"')):
        started = fedk("session", "start", str(written(f"{model}\n[clients]\nmin = 9\n")), "--name", name, "--json")
        assert (started.code, json.loads(started.out)["name"]) == (0, name)
        assert served.do(served.site.get(f"models/{name}/0"))["sha256"] == first
    started = fedk("session", "start", str(written("[clients]\nmin = 9\n")))
    assert "digits-2   initial model asked of a client   2 clients of 9 (a b), waiting for 7 more" in started.out


def test_all_mistakes_of_a_session_file_are_told_with_their_lines(fedk: Any, served: Served) -> None:
    file = written('rouns = 3\n\n[clients]\nmin = 0\n[aggregator.fedavg]\nweihgting = "uniform"\n')
    outcome = fedk("session", "start", str(file), "--set", "round.quorum=2")
    assert (outcome.code, outcome.out) == (78, "")
    title, *lines = (" ".join(text.split()) for text in outcome.err.splitlines())
    assert title == "digits/session.toml: 4 mistakes"
    assert lines[0] == "line 1 rouns = 3 is not a key here. Did you mean rounds?"
    assert lines[1] == "line 4 clients.min = 0 must be ≥ 1"
    assert lines[2].startswith('line 6 aggregator.fedavg.weihgting = "uniform" is not a key here.')
    assert lines[3] == "--set round.quorum = 2 must be ≤ 1"
    assert served.do(served.site.get("models")) == {"models": []}  # nothing was uploaded for it


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("clinet.py:app", 78, "no file clinet.py (in {folder}). Did you mean client.py?"),
        ("client.py", 78, 'model = "client.py" wants FILE:APP, for example "client.py:app"'),
        ("client.py:ap", 1, "the initial model of {folder}/client.py:ap was not made:"),
        ("broken.py:app", 1, "ModuleNotFoundError"),
        ("zip.safetensors", 1, "is no safetensors file"),
        ("mnist/3", 1, 'no session "mnist"'),
    ],
)
def test_a_model_that_cannot_be_had_says_why(fedk: Any, served: Served, model: str, code: int, words: str) -> None:
    written(APP, "client.py")
    written("import tensorfloww\n", "broken.py")
    written("PK no model", "zip.safetensors")
    outcome = fedk("session", "start", str(written(f'model = "{model}"\n')))
    assert (outcome.code, outcome.out) == (code, "")
    assert words.format(folder=Path("digits").resolve()) in outcome.err
    assert served.do(served.site.get("sessions")) == {"sessions": []}


def test_a_file_that_is_not_there_is_wrong_usage(fedk: Any) -> None:
    written("")
    outcome = fedk("session", "start", "digits/sesion.toml")
    assert (outcome.code, "Did you mean session.toml?" in outcome.err) == (2, True)


def test_a_list_says_where_each_stands_and_what_to_type_next(fedk: Any, served: Served) -> None:
    assert fedk("session", "list").out == "no sessions yet: fedk session start FILE\n"
    finished(served, rounds=2)
    served.do(served.site.start("mnist", until="session.running", clients={"min": 9}))
    lines = fedk("session", "list").out.splitlines()
    assert lines[0].split() == ["name", "status", "round", "aggregator", "started", "why"]
    assert lines[1].split()[:6] == ["mnist", "running", "1", "of", "1", "fedavg"]
    assert lines[2].split()[:6] == ["digits-1", "finished", "2", "of", "2", "fedavg"]
    assert lines[3] == "2 sessions: fedk session show mnist"
    assert [one["name"] for one in json.loads(fedk("session", "list", "--json").out)] == ["mnist", "digits-1"]


def test_a_finished_session_shows_its_metrics_and_how_to_get_the_model(fedk: Any, served: Served) -> None:
    finished(served, rounds=2)
    assert fedk("session", "show").out.splitlines() == [
        "digits-1   finished   round 2 of 2, head model digits-1/2",
        "metrics    train.loss 0.250   validate.accuracy 0.750   (model digits-1/2)",
        "next       fedk model get digits-1/2 -o M.safetensors",
    ]


def test_a_failed_session_shows_who_did_what_and_how_to_go_on(fedk: Any, served: Served) -> None:
    site = served.site
    joined(served, "c1", "c2")
    served.do(site.players.join("c3", Play(refuse="non-finite", detail="w has 12 NaN of 4,096")))
    served.do(site.players.join("c5", Play(fail="failed", detail="ValueError at client.py:21")))
    rules: dict[str, Any] = {"clients": {"min": 4}, "validation": {"every": 0}}
    served.do(site.start(until="session.failed", **rules))
    lines = fedk("session", "show").out.splitlines()
    assert lines[0].startswith("digits-1   failed   round 1 of 1, attempt ")
    assert lines[0].endswith(" of 3, head model digits-1/0")
    assert lines[1].startswith("why        round 1, attempt 3 of 3: quorum 4 of 4 not reached: 2 updates")
    assert lines[2] == "clients    c1 c2   update accepted"
    assert lines[3].startswith("           c3   refused")
    assert lines[3].endswith("non-finite, w has 12 NaN of 4,096")
    assert lines[4].startswith("           c5   failed")
    assert lines[-2] == "next       fedk session resume digits-1   goes on from digits-1/0 with the same rules"
    assert lines[-1] == "           fedk session resume digits-1 --set round.quorum=0.6"
    resumed = fedk("session", "resume", "digits-1", "--set", "round.quorum=0.5", "--set", "epochs=3")
    assert resumed.code == 0
    rules = served.do(site.get("sessions/digits-1"))["rules"]
    assert (rules["round"]["quorum"], rules["client_settings"]) == (0.5, {"epochs": 3})


def test_a_waiting_session_is_shown_paused_resumed_and_stopped(fedk: Any, served: Served) -> None:
    joined(served, "a")
    served.do(served.site.start(until="session.running", rounds=7))
    shown = fedk("session", "show", "dig").out.splitlines()
    assert shown == [
        "digits-1   running   round 1 of 7, head model digits-1/0",
        "waiting    for clients: 1 present, 2 needed",
        "next       fedk session watch digits-1",
    ]
    assert fedk("session", "pause").out == "digits-1   paused   round 1 of 7   fedk session resume digits-1\n"
    assert fedk("session", "resume").out == "digits-1   running   round 1 of 7   fedk session watch digits-1\n"
    assert fedk("session", "stop").out.startswith("digits-1   stopped   ")
    again = fedk("session", "pause")
    assert (again.code, again.out) == (1, "")
    assert (
        again.err
        == 'fedk: session digits-1 is stopped, and has ended for good: start another one, model = "digits-1/0"\n'
    )


def test_a_session_that_has_ended_is_watched_to_its_end_at_once(fedk: Any, served: Served) -> None:
    finished(served, rounds=3)
    watched = fedk("session", "watch")
    lines = watched.out.splitlines()
    assert watched.code == 0
    assert lines[0].split() == [
        "round", "updates", "examples", "train.loss", "validate.accuracy", "seconds", "moved",
    ]  # fmt: skip
    assert [line.split()[:5] for line in lines[1:4]] == [[str(no), "2/2", "72", "0.250", "0.750"] for no in (1, 2, 3)]
    assert lines[4] == "digits-1   finished   round 3 of 3, head model digits-1/3"
    events = [json.loads(line) for line in fedk("session", "watch", "--json").out.splitlines()]
    assert [event["type"] for event in events].count("round.committed") == 3


def test_a_session_that_failed_or_was_stopped_ends_its_watch_with_1(fedk: Any, served: Served) -> None:
    joined(served, "a")
    served.do(served.site.start(until="session.running"))
    fedk("session", "stop")
    assert fedk("session", "watch").code == 1


def watching(served: Served, *arguments: str) -> subprocess.Popen[str]:
    code = "from fedk.cli import main; main()"
    command = [sys.executable, "-c", code, "session", "watch", "--url", served.url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_a_watch_tells_what_it_waits_for_and_each_round_as_it_comes(served: Served) -> None:
    joined(served, "a")
    served.do(served.site.start(until="session.running", rounds=3))
    with watching(served) as process:
        assert line(process.stdout) == "waiting   clients: 1 present, 2 needed\n"
        joined(served, "b")
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert [row.split()[:2] for row in out.splitlines()[1:4]] == [["1", "2/2"], ["2", "2/2"], ["3", "2/2"]]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_a_watch_and_the_session_goes_on(served: Served) -> None:
    joined(served, "a")
    served.do(served.site.start(until="session.running", rounds=3))
    with watching(served) as process:
        assert line(process.stdout).startswith("waiting")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err.strip() == f"digits-1 goes on: fedk session watch digits-1 --url {served.url}"
    assert served.do(served.site.get("sessions/digits-1"))["status"] == "running"


def test_a_server_that_goes_ends_a_watch_with_what_to_do(served: Served) -> None:
    joined(served, "a")
    served.do(served.site.start(until="session.running", rounds=3))
    with watching(served, "--json") as process:
        assert json.loads(line(process.stdout))["type"] == "session.running"
        served.site.desk.feed.close()  # as at the end of a server
        served.do(served.http.close())
        _, err = process.communicate()
    assert process.returncode == 1
    assert "no server at" in err or "no answer from" in err


def test_the_screen_knows_the_reasons_that_are_nobodys_fault() -> None:
    assert frozenset(ENDINGS) == states.ENDINGS


def test_a_folder_in_a_session_files_place_shows_those_in_it(fedk: Any) -> None:
    written("rounds = 3")
    started = fedk("session", "start", "digits")
    assert (started.code, started.err.splitlines()[0]) == (
        2, "fedk: digits is a folder. Session files in it: digits/session.toml",
    )  # fmt: skip
