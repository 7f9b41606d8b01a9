"""fedk: a server and client processes of its echo example."""

from benchmarks.clients import echoes
from benchmarks.peers.work import Work
from benchmarks.server import served


def measure(work: Work) -> list[float]:
    """Seconds of each round but the first."""
    with served() as server, echoes(server, work.clients, weights=work.weights):
        return server.session(clients=work.clients, rounds=work.rounds)[1:]
