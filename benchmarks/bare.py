"""The wire alone: what a round's messages cost over grpc.aio and nothing else, from processes of their own.

`echo(…)`: the messages of a round. To each client its task with the model, and in the same message receipt and verdict
of the last result; back the result with a model. `transfer(…)`: a model to each client and back in chunks, hashed
at both ends as it must be: by who sends it and by who gets it.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack

import grpc
import grpc.aio

from fedk_protocol.v1 import federation_pb2 as pb

CHUNK = 512 * 1024  # bytes, as the server asks of clients

Stream = grpc.aio.ServicerContext[bytes, bytes]


class Bare:
    """One server, with a stream for each client."""

    def __init__(self, clients: int, model: bytes, *, hashed: bool) -> None:
        self._clients, self._model, self._hashed = clients, model, hashed
        self._streams: list[Stream] = []
        self._joined, self._over = asyncio.Event(), asyncio.Event()

    async def echo(self, _: object, stream: Stream) -> None:
        self._streams.append(stream)
        if len(self._streams) == self._clients:
            self._joined.set()
        await self._over.wait()

    async def rounds(self, count: int) -> list[float]:
        """Seconds of each."""
        await self._joined.wait()
        spent = []
        for _ in range(count):
            began = time.perf_counter()
            if self._hashed:
                wanted = hashlib.sha256(self._model).digest()
                await asyncio.gather(*(self._transfer(stream, wanted) for stream in self._streams))
            else:
                await asyncio.gather(*(self._result(stream, n) for n, stream in enumerate(self._streams)))
            spent.append(time.perf_counter() - began)
        self._over.set()
        return spent

    async def _result(self, stream: Stream, n: int) -> None:
        said = {"task": f"task-{n}", "result_id": "result"}
        task = pb.Task(id=f"task-{n}", session="bare", kind="train", inputs={"model": pb.Blob(inline=self._model)})
        verdict = pb.Verdict(**said, outcome=pb.OUTCOME_COMMITTED)
        also = [pb.ServerMessage(verdict=verdict), pb.ServerMessage(task=task)]
        await stream.write(pb.ServerMessage(receipt=pb.Receipt(**said), also=also).SerializeToString())
        if not pb.ClientMessage.FromString(await stream.read()).HasField("result"):
            raise RuntimeError("a client gave back no result")

    async def _transfer(self, stream: Stream, wanted: bytes) -> None:
        for at in range(0, len(self._model), CHUNK):
            await stream.write(self._model[at : at + CHUNK])
        came = hashlib.sha256()
        for _ in range(0, len(self._model), CHUNK):
            came.update(await stream.read())
        if came.digest() != wanted:
            raise RuntimeError("a client gave back other bytes than it got")


async def serve(bare: Bare, rounds: int, command: list[str], processes: int) -> list[float]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(bare.echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare.Bare", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with ExitStack() as ending:
        for _ in range(processes):
            client = subprocess.Popen(  # noqa: ASYNC220  # before any clock
                [sys.executable, __file__, f"127.0.0.1:{port}", *command],
                env=os.environ | {"GRPC_VERBOSITY": "ERROR"},  # that its server stops is no news
            )
            ending.callback(client.wait)
            ending.callback(client.kill)
        try:
            return await bare.rounds(rounds)
        finally:
            await server.stop(0)


def echo(clients: int, rounds: int, size: int, *, processes: int = 0) -> list[float]:
    """Seconds of each round; a process for each client, unless it is said how many share all of them."""
    bare = Bare(clients, bytes(size), hashed=False)
    each = clients // (processes or clients)
    return asyncio.run(serve(bare, rounds, ["echo", str(each)], processes or clients))


def transfer(clients: int, rounds: int, size: int) -> list[float]:
    """Seconds of each round."""
    bare = Bare(clients, bytes(size), hashed=True)
    return asyncio.run(serve(bare, rounds, ["transfer", str(size)], clients))


async def echoing(address: str) -> None:
    """A client that gives back each model."""
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(address, options) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bare.Bare/Echo")()
        while isinstance(message := await call.read(), bytes):  # not EOF
            task = pb.ServerMessage.FromString(message).also[-1].task
            result = pb.Result(task=task.id, result_id="result", blobs=task.inputs)
            await call.write(pb.ClientMessage(result=result).SerializeToString())


async def transferring(address: str, size: int) -> None:
    """A client that gives back each model once all of it has come and was hashed."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bare.Bare/Echo")()
        while True:
            model, came = bytearray(), hashlib.sha256()
            async for chunk in _chunks(call, size):
                came.update(chunk)
                model += chunk
            if len(model) < size:
                return
            sent = hashlib.sha256()
            for at in range(0, size, CHUNK):
                chunk = bytes(model[at : at + CHUNK])
                sent.update(chunk)
                await call.write(chunk)


async def _chunks(call: "grpc.aio.StreamStreamCall[bytes, bytes]", size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, CHUNK):
        if not isinstance(chunk := await call.read(), bytes):  # EOF
            return
        yield chunk


async def main(address: str, kind: str, number: int) -> None:
    if kind == "transfer":
        await transferring(address, number)
    else:
        await asyncio.gather(*(echoing(address) for _ in range(number)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
