"""A server with idle clients sleeps: counted in context switches, which the kernel counts for each thread."""

import threading
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT, Background, Served

CLIENTS = 10
SECONDS = 10.0


def switches(pid: int) -> dict[int, int]:
    """Voluntary context switches so far, by thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        line = next(row for row in status.splitlines() if row.startswith("voluntary_ctxt_switches"))
        found[int(task.name)] = int(line.split()[1])
    return found


def test_ten_idle_clients_do_not_wake_the_server(
    serve: Callable[..., Served], start: Callable[..., Background]
) -> None:
    server = serve(FEDK_LOG__LEVEL="debug")
    app = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"
    clients = [
        start("fedk-client", "run", app, "--server", server.listen, "--name", f"c{n}", log=f"c{n}.log")
        for n in range(CLIENTS)
    ]
    joined = "nothing to do yet"
    for client in clients:
        wait_for_line(client, joined)
    elapsed(2.0)  # joining comes to rest: keepalive settings, first acknowledgements
    before = switches(server.process.pid)
    elapsed(SECONDS)
    after = switches(server.process.pid)
    woken = {thread: after[thread] - before.get(thread, 0) for thread in after}
    assert woken[server.process.pid] < 10, f"the event loop's thread woke {woken[server.process.pid]} times"
    assert sum(woken.values()) < 200, woken


def wait_for_line(client: Background, text: str) -> None:
    """Until the client's log has the text."""
    while text not in client.log.read_text():
        assert client.process.poll() is None, client.log.read_text()
        elapsed(0.1)


def elapsed(seconds: float) -> None:
    """What is measured here is what happens in a span of time; nothing is awaited."""
    threading.Event().wait(seconds)
