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
    running = under_way(start, tmp_path)
    clients = [os.pidfd_open(pid) for pid in client_processes(tmp_path / "D")]
    running.kill()
    for client in clients:
        wait_for_end(client)


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
    assert "my last words" in ended.err
    assert "exit code 7" in ended.err


@pytest.mark.parametrize("clients", [3])
def test_the_json_of_a_run_is_one_document(fedk: Fedk, clients: int) -> None:
    done = fedk("run", ECHO, "--clients", str(clients), "--rounds", "2", "--data-dir", "D", "--json")
    document = json.loads(done.out)
    assert document["rounds"] == 2
    assert document["bytes"]["sent"] > 0
    assert document["seconds_per_round"] > 0
