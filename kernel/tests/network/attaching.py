"""Both ends of a combiner's stream, scripted: they say what the test says, however wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from fedk.app import Combiner
from fedk.catalogue import Catalogue
from fedk.network.calls import TIER, Context, tier_handler
from fedk.settings import Settings
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier
from fedk_protocol.version import VERSION

PATIENCE = 20.0
"""Seconds that a test waits for the other end; a longer wait is a fault that the test shows."""


class Child:
    """A combiner below the server at `address`."""

    def __init__(self, address: str, name: str = "east") -> None:
        self._name, self._channel = name, grpc.aio.insecure_channel(address)
        self._call: Any = None
        self.attached = tier.Attached()

    async def attach(self, **more: Any) -> None:
        self._call = self._channel.stream_stream(f"/{TIER}/Attach")()
        version = pb.Version(major=VERSION[0], minor=VERSION[1])
        said: dict[str, Any] = {"name": self._name, "generation": "0" * 8, "advertise": ["there:1"], **more}
        await self.say(attach=tier.Attach(version=version, **said))
        self.attached = await self.heard("attached")

    async def say(self, **message: Any) -> None:
        await self._call.write(tier.Upward(**message).SerializeToString())

    async def heard(self, kind: str) -> Any:
        """The next word of this kind."""
        async with asyncio.timeout(PATIENCE):  # as it says
            while isinstance(raw := await self._call.read(), bytes):
                word = tier.Downward.FromString(raw)
                if word.WhichOneof("kind") == kind:
                    return getattr(word, kind)
        raise AssertionError(f"no {kind}: {await self.ended()}")

    async def ended(self) -> str:
        """How its stream has ended."""
        async with asyncio.timeout(PATIENCE):  # as it says
            return f"{(await self._call.code()).name} {await self._call.details()}"

    async def join(self, name: str, ticket: str) -> str:
        """Take in a client that the server has sent here; its id."""
        hello = pb.Hello(
            version=pb.Version(major=VERSION[0], minor=VERSION[1]),
            project="default",
            name=name,
            instance=f"{name}-1",
            capabilities=["train"],
        )
        call: Any = self._channel.unary_unary(f"/{TIER}/Join")
        request = tier.JoinRequest(hello=hello, ticket=ticket).SerializeToString()
        joined = tier.JoinReply.FromString(await call(request, metadata=self._metadata()))
        await self.say(members=tier.Members(here=[tier.Present(client=joined.client, instance=hello.instance)]))
        return joined.client

    async def deliver(self, first: tier.Delivery) -> None:
        """A delivery that brings no bytes."""
        call: Any = self._channel.stream_unary(f"/{TIER}/Deliver")(metadata=self._metadata())
        await call.write(first.SerializeToString())
        await call.done_writing()
        await call

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TICKET, self.attached.ticket),)


@asynccontextmanager
async def child(address: str, name: str = "east") -> AsyncIterator[Child]:
    """Attached."""
    found = Child(address, name)
    try:
        await found.attach()
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def middle(data_dir: Path, *parents: str) -> AsyncIterator[Combiner]:
    """A real combiner below the first of `parents` that answers."""
    server = {"role": "combiner", "name": "middle", "data_dir": str(data_dir), "parent": list(parents)}
    given = {**server, "listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    made = Combiner(Settings.model_validate({"server": given}), Catalogue.scan())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


class Above:
    """A parent: each of a combiner's streams is here once it is attached. A delivery ends with `refusal`."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[Context] = asyncio.Queue()
        self._over = asyncio.Event()
        self.silent = False
        self.refusal: tuple[grpc.StatusCode, str] | None = None

    async def attach(self, _requests: object, context: Context) -> None:
        await context.read()
        if self.silent:
            await self._over.wait()
        await context.write(tier.Downward(attached=tier.Attached(holder="middle")).SerializeToString())
        self.streams.put_nowait(context)
        await self._over.wait()

    async def deliver(self, _requests: object, context: Context) -> bytes:
        while isinstance(await context.read(), bytes):
            pass
        if self.refusal is not None:
            await context.abort(*self.refusal)
        return tier.Delivered().SerializeToString()

    async def stream(self) -> Context:
        """The next stream."""
        async with asyncio.timeout(PATIENCE):  # as it says
            return await self.streams.get()

    def end(self) -> None:
        self._over.set()


@asynccontextmanager
async def above() -> AsyncIterator[tuple[Above, str]]:
    """A scripted parent, and its address."""
    found, server = Above(), grpc.aio.server()
    no: Callable[[Any, Any], Awaitable[Any]] = _unasked
    server.add_generic_rpc_handlers(
        (tier_handler(attach=found.attach, join=no, ask=no, fetch=no, deliver=found.deliver),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found, f"127.0.0.1:{port}"
    finally:
        found.end()
        await server.stop(0)


async def _unasked(_request: Any, context: Context) -> Any:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody asks")
