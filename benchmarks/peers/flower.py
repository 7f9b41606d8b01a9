"""Flower as its deployment guide says: a SuperLink, a SuperNode for each client, `flwr run`; not its simulation."""

import shutil
import socket
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from benchmarks.peers.environment import Environment
from benchmarks.peers.work import Work

NAME = "flwr"
COMMANDS = "flower-superlink --insecure; flower-supernode --insecure --superlink ADDRESS; flwr run APP"
APP = Path(__file__).with_name("flower_app")
PROJECT = """
[project]
name = "echo"
version = "1.0.0"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={version}"]

[tool.flwr.app]
publisher = "bench"
fab-format-version = 1
flwr-version-target = "{version}"

[tool.flwr.app.components]
serverapp = "echo.server:app"
clientapp = "echo.client:app"

[tool.flwr.app.config]
rounds = {work.rounds}
clients = {work.clients}
weights = {work.weights}
times = "{times}"
"""
CONFIG = """
[superlink]
default = "bench"

[superlink.bench]
address = "{address}"
insecure = true
"""


def measure(work: Work, environment: Environment, folder: Path) -> list[float]:
    """Seconds from a round's new model to the next one's, but for the first."""
    times, app, home = folder / "times", folder / "app", folder / "home"
    env = {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
    port, *ports = free_ports(1 + work.clients)
    address = f"127.0.0.1:{port}"
    shutil.copytree(APP, app / "echo")
    (app / "LICENSE").touch()
    (app / "pyproject.toml").write_text(PROJECT.format(version=environment.version, work=work, times=times))
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(address=address))
    with ExitStack() as ending:
        words = ("--insecure", "--disable-runtime-dependency-installation", "--port", str(port))
        server = environment.process("flower-superlink", *words, folder=folder, **env)
        ending.enter_context(server).until("startup complete")
        for own in ports:
            node = ("--insecure", "--superlink", address, "--port", str(own))
            ending.enter_context(environment.process("flower-supernode", *node, folder=folder, **env))
        with environment.process("flwr", "run", app, "bench", "--stream", folder=folder, **env) as run:
            run.until("Strategy execution finished")
    noted = [float(line) for line in times.read_text().split()]
    return [after - before for before, after in pairwise(noted)][1:]


def free_ports(count: int) -> list[int]:
    """That nobody listens on just now."""
    with ExitStack() as closing:
        sockets = [closing.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
