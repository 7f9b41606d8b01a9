"""A hundred sessions of which each has taken an update and waits for another: their sums share one bound."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio
from benchmarks.clients import crowd
from benchmarks.crowd import hello, model
from benchmarks.law import HUNDRED
from benchmarks.process import Peak
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import Server, served

from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub

ACCUMULATORS = 2 * 2**30  # bytes: limits.accumulators
TOO_MUCH = 2 * ACCUMULATORS  # where it is stopped: the machine has other work


def measure(scale: Scale) -> Iterator[Row]:
    sessions, weights = scale(100, 3), scale(HUNDRED, HUNDRED // 25)
    need, free = 4 * weights * (sessions + 5), shutil.disk_usage(tempfile.gettempdir()).free
    if free < need:
        raise RuntimeError(
            f"needs {need / 1e9:.0f} GB of disk in {tempfile.gettempdir()}, {free / 1e9:.0f} GB are free"
        )
    opened, reason = 0, ""
    with served(FEDK_LOG__LEVEL="debug") as server, crowd(server, 1, weights=weights), silent(server):
        first = server.put(model(weights))
        with Peak(server) as peak:
            while opened < sessions and not reason:
                name = server.begin(clients=2, rounds=1, model=first)
                while f"session={name}" not in server.until("update.accepted", "session.failed"):
                    pass
                opened += 1
                if peak.grown > TOO_MUCH:
                    reason = f"stopped after {opened} sessions"
    size = 4 * weights / 1e6
    yield Row(
        f"{sessions} open sessions × {size:.0f} MB", peak.grown / 1e6, "MB", "limits.accumulators", ACCUMULATORS / 1e6,
        target=1, relative=True, reason=reason,
    )  # fmt: skip


@contextmanager
def silent(server: Server) -> Iterator[None]:
    """A client that takes a task and never answers: no session gets its second update."""
    joined, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_stay(server.listen, joined, over)), daemon=True)
    thread.start()
    joined.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _stay(address: str, joined: threading.Event, over: threading.Event) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stream = FederationStub(channel).Connect()
        await stream.write(pb.ClientMessage(hello=hello("silent")))
        await stream.read()
        joined.set()
        await asyncio.to_thread(over.wait)
