"""Who joins the server that is measured: real clients, a process each; or a crowd in one."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.process import Process
from benchmarks.server import Server

ROOT = Path(__file__).resolve().parent.parent
ECHO = ROOT / "examples" / "echo" / "client.py"


@contextmanager
def echoes(server: Server, clients: int, *, weights: int) -> Iterator[None]:
    """`fedk-client run` of the echo example, whose model has so many float32 and is another one in each round."""
    env = {"ECHO_WEIGHTS": str(weights), "ECHO_MOVE": "1"}
    with ExitStack() as ending:
        for n in range(clients):
            words = ("--server", server.listen, "--name", f"echo-{n}", "--share-errors", "--end-with-stdin")
            process = Process("fedk-client", "run", f"{ECHO}:app", *words, folder=server.folder, **env)
            ending.enter_context(process)
        yield


@contextmanager
def crowd(server: Server, clients: int, *, weights: int = 10_000) -> Iterator[None]:
    """crowd.py, once all of it has joined."""
    command = (sys.executable, ROOT / "benchmarks/crowd.py", server.listen, str(clients), str(weights))
    with Process(*command, folder=server.folder) as process:
        process.until("joined")
        yield
