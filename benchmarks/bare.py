"""The wire alone: the same messages as a round of echo clients, over grpc.aio and nothing else.

`measure(...)` starts one process for each client; each gives back as many bytes as it gets.
"""

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median

import grpc
import grpc.aio

METHOD = "/bare.Bare/Echo"
PATIENCE = 60.0  # seconds that all rounds together may take: a benchmark that hangs must end

Stream = grpc.aio.ServicerContext


class Bare:
    """One server. A client is a stream that is written to and read from once a round."""

    def __init__(self, clients: int, message: bytes) -> None:
        self._clients, self._message = clients, message
        self._streams: list[Stream] = []
        self._joined, self._over = asyncio.Event(), asyncio.Event()

    async def echo(self, _: object, stream: Stream) -> None:
        self._streams.append(stream)
        if len(self._streams) == self._clients:
            self._joined.set()
        await self._over.wait()

    async def rounds(self, count: int) -> list[float]:
        """Seconds of each round."""
        await self._joined.wait()
        spent = []
        for _ in range(count):
            began = time.perf_counter()
            await asyncio.gather(*(self._round(stream) for stream in self._streams))
            spent.append(time.perf_counter() - began)
        self._over.set()
        return spent

    async def _round(self, stream: Stream) -> None:
        await stream.write(self._message)
        await stream.read()


async def serve(clients: int, rounds: int, size: int) -> float:
    """Median seconds of a round."""
    bare = Bare(clients, bytes(size))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(bare.echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare.Bare", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with ExitStack() as ending:
        for _ in range(clients):
            client = subprocess.Popen([sys.executable, __file__, f"127.0.0.1:{port}"])  # noqa: ASYNC220  # before any clock
            ending.callback(client.wait)
            ending.callback(client.kill)
        try:
            async with asyncio.timeout(PATIENCE):
                spent = await bare.rounds(rounds)
        finally:
            await server.stop(0)
    return median(spent)


async def client(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        while (message := await call.read()) is not grpc.aio.EOF:
            await call.write(message)


def measure(clients: int, rounds: int, size: int) -> float:
    """Median seconds of a round."""
    return asyncio.run(serve(clients, rounds, size))


if __name__ == "__main__":
    asyncio.run(client(sys.argv[1]))
