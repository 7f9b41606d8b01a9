"""The production form: a server, clients in other shells, sessions over REST. The client file is the same."""

import signal
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file
from tests.conftest import ROOT, Background, Fedk, Served

ECHO = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"
Serve = Callable[..., Served]
Start = Callable[..., Background]


def join(start: Start, server: Served, *names: str, app: str = ECHO) -> list[Background]:
    return [
        start(
            *("fedk-client", "run", app, "--server", server.listen, "--name", name, "--part", f"{n}/{len(names)}"),
            log=f"{name}.log",
        )
        for n, name in enumerate(names)
    ]


def session(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "session.toml"
    file.write_text(text)
    return file


def test_a_session_is_started_watched_and_its_model_fetched(
    fedk: Fedk, serve: Serve, start: Start, tmp_path: Path
) -> None:
    server = serve()
    join(start, server, "a", "b")
    file = session(tmp_path, f'name = "first"\nrounds = 3\nmodel = "{ECHO}"\n[clients]\nmin = 2\n')
    env = {"FEDK_URL": server.admin}
    started = fedk("session", "start", file, "--json", env=env).json
    events = [line for line in fedk("session", "watch", "first", "--json", env=env).out.splitlines() if line]
    assert "session.finished" in events[-1]
    fedk("model", "get", "first/3", "-o", "model.safetensors", env=env)
    assert sum(array.size for array in load_file(tmp_path / "model.safetensors").values()) == 10_000
    assert fedk("session", "show", started["id"], "--json", env=env).json["status"] == "finished"
    assert server.end() == 0
    trail = fedk("model", "trail", "first", "--data-dir", "fedk-data", "--verify", "--json").json
    assert [model["round"] for model in trail["models"]] == [0, 1, 2, 3]


def test_a_session_waits_visibly_until_clients_come(fedk: Fedk, serve: Serve, start: Start, tmp_path: Path) -> None:
    server = serve()
    env = {"FEDK_URL": server.admin}
    file = session(tmp_path, 'name = "patient"\nrounds = 1\n[clients]\nmin = 2\n')
    fedk("session", "start", file, env=env)
    waiting = fedk("session", "show", "patient", "--json", env=env).json
    assert waiting["status"] == "running"
    assert waiting["waiting_for"][0]["for"] == "clients"
    join(start, server, "a", "b")
    fedk("session", "watch", "patient", "--json", env=env)
    assert fedk("session", "show", "patient", "--json", env=env).json["status"] == "finished"


def test_a_server_killed_between_rounds_goes_on_with_the_same_clients(
    fedk: Fedk, serve: Serve, start: Start, tmp_path: Path
) -> None:
    server = serve()
    join(start, server, "a", "b")
    env = {"FEDK_URL": server.admin}
    file = session(tmp_path, f'name = "long"\nrounds = 60\nmodel = "{ECHO}"\n')
    fedk("session", "start", file, env=env)
    watching = start("fedk", "session", "watch", "long", "--json", env=env, log="watch.log")
    while "round.committed" not in watching.line():
        pass
    server.kill()
    again = serve(listen=server.listen, admin=server.admin.removeprefix("http://"))
    fedk("session", "watch", "long", "--json", env=env)
    trail = fedk("model", "trail", "long", "--verify", "--json", env=env).json
    assert [model["round"] for model in trail["models"]] == list(range(61))
    assert again.end() == 0


def test_a_client_killed_in_a_round_costs_the_grace_time_and_the_round_goes_on(
    fedk: Fedk, serve: Serve, start: Start, tmp_path: Path
) -> None:
    server = serve()
    clients = join(start, server, "a", "b", "c")
    env = {"FEDK_URL": server.admin}
    file = session(tmp_path, f'name = "loss"\nrounds = 40\nmodel = "{ECHO}"\n[clients]\nmin = 2\ngrace = "1s"\n')
    fedk("session", "start", file, env=env)
    watching = start("fedk", "session", "watch", "loss", "--json", env=env, log="watch.log")
    while "round.committed" not in watching.line():
        pass
    clients[2].kill()
    fedk("session", "watch", "loss", "--json", env=env)
    assert fedk("session", "show", "loss", "--json", env=env).json["status"] == "finished"


def test_a_second_signal_ends_the_server_at_once_and_the_first_in_order(serve: Serve) -> None:
    server = serve()
    assert server.end(signal.SIGINT) == 0
