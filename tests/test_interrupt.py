"""`fedk run` ends what it started: on Ctrl-C, on kill -9, and when its clients die."""

import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import ROOT, Background, Fedk

ECHO = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"


def client_processes(data_dir: Path) -> list[int]:
    """Processes that have a client's log of this data directory open."""
    found = []
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                if (proc / "fd" / "1").resolve().parent == data_dir / "logs":
                    found.append(int(proc.name))
            except OSError:
                continue
    return found


def under_way(start: Callable[..., Background], tmp_path: Path) -> Background:
    running = start("fedk", "run", ECHO, "--clients", "3", "--rounds", "2000", "--data-dir", "D", log="run.log")
    while running.line().split()[:1] != ["2"]:
        pass
    assert len(client_processes(tmp_path / "D")) == 3
    return running


def test_ctrl_c_pauses_the_session_and_says_how_to_go_on(
    fedk: Fedk, start: Callable[..., Background], tmp_path: Path
) -> None:
    running = under_way(start, tmp_path)
    assert running.end(signal.SIGINT) == 130
    assert client_processes(tmp_path / "D") == []
    (session,) = fedk("session", "list", "--data-dir", "D", "--json").json
    assert session["status"] == "paused"
    assert "--resume" in running.rest()
    words = ("--clients", "3", "--data-dir", "D", "--resume", session["name"], "--set", "rounds=20", "--json")
    document = fedk("run", ECHO, *words, code=None).json
    assert document["session"] == session["id"]


def test_a_killed_run_takes_its_clients_with_it(start: Callable[..., Background], tmp_path: Path) -> None:
    killed(start, tmp_path)


def killed(start: Callable[..., Background], tmp_path: Path) -> None:
    """A run whose session is left running, in a round."""
    running = under_way(start, tmp_path)
    clients = [os.pidfd_open(pid) for pid in client_processes(tmp_path / "D")]
    running.kill()
    for client in clients:
        wait_for_end(client)


def test_a_killed_run_is_resumed(fedk: Fedk, start: Callable[..., Background], tmp_path: Path) -> None:
    killed(start, tmp_path)
    (session,) = fedk("session", "list", "--data-dir", "D", "--json").json
    assert session["status"] == "running"
    shown = fedk("session", "show", "--data-dir", "D").out
    assert f"next       fedk run FILE:APP --resume {session['name']} --data-dir D\n" in shown
    last = session["head"]["round"] + 3
    words = ("--clients", "3", "--data-dir", "D", "--resume", session["name"], "--rounds", str(last), "--json")
    document = fedk("run", ECHO, *words).json
    assert (document["session"], document["rounds"]) == (session["id"], last)


def test_clients_of_a_run_answer_no_task_of_another_one(
    fedk: Fedk, start: Callable[..., Background], tmp_path: Path
) -> None:
    killed(start, tmp_path)
    before = fedk("session", "show", "--data-dir", "D", "--json").json
    out = fedk("run", ECHO, "--clients", "3", "--rounds", "5", "--data-dir", "D").out
    assert f"paused   {before['name']}, which was left running: fedk run FILE:APP --resume {before['name']}" in out
    after = fedk("session", "show", before["name"], "--data-dir", "D", "--json").json
    assert (after["status"], after["head"]) == ("paused", before["head"])
    assert {one["outcome"] for one in after["current"]["clients"]} <= {"lost", "accepted"}
    assert after["current"]["accepted"] == before["current"]["accepted"]


def wait_for_end(pidfd: int) -> None:
    """Until the process has ended; 15 s are what a client may take to say goodbye to a server that is gone."""
    ended, _, _ = select.select([pidfd], [], [], 15)
    os.close(pidfd)
    assert ended


def test_when_the_last_client_dies_the_run_fails_with_its_last_words(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(
        "import os\nimport numpy as np\nfrom fedk_client import ClientApp, Task, Update\n"
        'app = ClientApp(model=lambda: {"w": np.zeros(3)})\n'
        "@app.train\ndef train(model, task):\n"
        '    print("my last words", flush=True)\n    os._exit(7)\n'
    )
    ended = fedk("run", "client.py:app", "--clients", "2", "--rounds", "1", "--data-dir", "D", code=1)
    assert ended.err.count("my last words") == 1
    assert "exit code 7" in ended.err
    (session,) = fedk("session", "list", "--data-dir", "D", "--json").json
    assert session["status"] == "paused"
    assert f"--resume {session['name']} --data-dir D" in ended.out


def test_a_client_that_dies_is_shown_line_by_line_while_others_go_on(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(
        "import os\nimport numpy as np\nfrom fedk_client import ClientApp, Task, Update\n"
        'app = ClientApp(model=lambda: {"w": np.zeros(3)}, data=lambda me: me.part)\n'
        "@app.train\ndef train(model, task):\n"
        '    print("my last words", flush=True)\n    if task.data == 0: os._exit(7)\n'
        "    return Update(model, num_examples=1)\n"
    )
    out = fedk("run", "client.py:app", "--clients", "2", "--data-dir", "D", "--set", "round.quorum=0.5").out
    assert "\n  my last words\n" in out


def test_a_failed_run_says_what_its_clients_did(fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(
        "import numpy as np\nfrom fedk_client import ClientApp\n"
        'app = ClientApp(model=lambda: {"w": np.zeros(3)})\n'
        '@app.train\ndef train(model, task):\n    raise ValueError("no label")\n'
    )
    ended = fedk("run", "client.py:app", "--clients", "2", "--data-dir", "D", "--set", "round.retries=0", code=1)
    assert "\n          client-1 failed: ValueError at client.py:6: no label\n" in ended.out


def test_a_run_says_what_it_waits_for(start: Callable[..., Background]) -> None:
    words = ("run", ECHO, "--clients", "2", "--data-dir", "D", "--set", "clients.min=3")
    running = start("fedk", *words, log="run.log")
    while not (line := running.line()).startswith("waiting"):
        pass
    assert line == "waiting   clients: 2 present, 3 needed\n"
    assert running.end(signal.SIGINT) == 130


@pytest.mark.parametrize("clients", [3])
def test_the_json_of_a_run_is_one_document(fedk: Fedk, clients: int) -> None:
    done = fedk("run", ECHO, "--clients", str(clients), "--rounds", "2", "--data-dir", "D", "--json")
    document = json.loads(done.out)
    assert document["rounds"] == 2
    assert document["bytes"]["sent"] > 0
    assert document["seconds_per_round"] > 0
