"""The service's calls as gRPC sees them. Messages stay bytes: each is counted as it is, and a bad one is refused here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from fedk.api.errors import StateError
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2

TIER = tier_pb2.DESCRIPTOR.services_by_name["Tier"].full_name
SERVICE = pb.DESCRIPTOR.services_by_name["Federation"].full_name

GREETING = 10.0
"""Seconds in which a stream must say who it is."""

DETAILS = 1_000
"""Characters of a status's text: HTTP/2 trailers are limited to a few kB, and escape what is not ASCII."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Call = Callable[[Any, Any], Awaitable[Any]]
M = TypeVar("M", bound=Message)

log = logging.getLogger("fedk.network")


class Ended(Exception):
    """This call ends with a status that is not OK."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(f"{code.name} {text}")
        self.code, self.text = code, text[:DETAILS]


def violated(text: str) -> Ended:
    """The client broke the specification."""
    return Ended(grpc.StatusCode.INVALID_ARGUMENT, text)


def unavailable(error: StateError) -> Ended:
    """Nothing can be written down. The client keeps what it has and comes back."""
    log.error("a call ends: %s", error)
    return Ended(grpc.StatusCode.UNAVAILABLE, "the server cannot write down results now; its log says why")


def parsed(kind: type[M], raw: bytes) -> M:
    """The message in `raw`."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise violated(f"{len(raw):,} bytes are no {kind.DESCRIPTOR.name}") from error


async def next_of(context: Context) -> bytes | None:
    """The next message of the client; None when it has said all, or is gone."""
    raw: object = await context.read()
    return raw if isinstance(raw, bytes) else None


async def greeting(context: Context, what: str) -> bytes:
    """The first message of a stream: before, it belongs to nobody who could be told or blamed. Raises Ended."""
    try:
        async with asyncio.timeout(GREETING):  # a stranger who says nothing holds a stream
            return await next_of(context) or b""
    except TimeoutError:
        raise Ended(grpc.StatusCode.DEADLINE_EXCEEDED, f"no {what} within {GREETING:g} s") from None


def handler(*, connect: Call, download: Call, upload: Call, locate: Call) -> grpc.GenericRpcHandler:
    """The service, for a server."""
    calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Connect": grpc.stream_stream_rpc_method_handler(_ending(connect)),
        "Download": grpc.unary_stream_rpc_method_handler(_ending(download)),
        "Upload": grpc.stream_unary_rpc_method_handler(_ending(upload)),
        "Locate": grpc.unary_unary_rpc_method_handler(_ending(locate)),
    }
    return grpc.method_handlers_generic_handler(SERVICE, calls)


def tier_handler(*, attach: Call, join: Call, ask: Call, fetch: Call, deliver: Call) -> grpc.GenericRpcHandler:
    """The service between servers."""
    calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Attach": grpc.stream_stream_rpc_method_handler(_ending(attach)),
        "Join": grpc.unary_unary_rpc_method_handler(_ending(join)),
        "Ask": grpc.unary_unary_rpc_method_handler(_ending(ask)),
        "Fetch": grpc.unary_stream_rpc_method_handler(_ending(fetch)),
        "Deliver": grpc.stream_unary_rpc_method_handler(_ending(deliver)),
    }
    return grpc.method_handlers_generic_handler(TIER, calls)


def _ending(call: Call) -> Call:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await call(request, context)
        except Ended as ended:
            end = Ended(
                ended.code, ended.text
            )  # without the frames, which hold what the client sent until it reads this
        except StateError as error:
            end = unavailable(error)
        return await context.abort(end.code, end.text)

    return guarded
