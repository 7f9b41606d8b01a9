"""The listener: a gRPC server on one address that no other program has."""

import asyncio
import errno
import socket
from dataclasses import dataclass

import grpc

from fedk.api.errors import ConfigError
from fedk_protocol.address import host_port

_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Seconds: a client that vanished without a word is noticed after both, by gRPC's own threads.

    Shorter than the 20 s after which clients ping, so that one ping serves both: ten switches of a thread each.
    """

    every: float = 15.0
    patience: float = 5.0


def server(*, message_bytes: int, window_bytes: int, keepalive: Keepalive) -> grpc.aio.Server:
    """Not yet listening. Of each stream at most `window_bytes` are here before they are read."""
    return grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),  # a second server would share the port in silence
            ("grpc.max_receive_message_length", message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.bdp_probe", 0),  # which would let a fast sender fill the memory while a slow disk writes
            ("grpc.http2.lookahead_bytes", window_bytes),
            ("grpc.keepalive_time_ms", int(keepalive.every * 1000)),
            ("grpc.keepalive_timeout_ms", int(keepalive.patience * 1000)),
            (
                "grpc.http2.ping_timeout_ms",
                int(keepalive.patience * 1000),
            ),  # a minute otherwise, whatever the other says
            ("grpc.http2.max_pings_without_data", 0),
            # clients may ping each 10 s; half of it, so that no jitter cuts an honest one off
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    )


async def listen(server: grpc.aio.Server, address: str) -> str:
    """Bind; answers HOST:PORT with the port that it became. ConfigError when the address cannot be had."""
    try:
        await _check_free(address)
        port = server.add_insecure_port(address)
    except OSError as error:
        raise _not_to_be_had(address, error) from error
    except RuntimeError as error:  # gRPC's, which does not say why
        raise ConfigError(f"{address} (server.listen) cannot be listened on: {error}") from error
    return f"{address.rpartition(':')[0]}:{port}"


async def _check_free(address: str) -> None:
    """gRPC does not say why it cannot bind, and is content with one of the addresses of a name."""
    host, port = host_port(address)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, place in found:
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as gRPC does: closed streams of the last server
            trial.bind(place)


def _not_to_be_had(address: str, error: OSError) -> ConfigError:
    if error.errno != errno.EADDRINUSE:
        text = (
            f"cannot be listened on: {error.strerror or error}. Name an address of this machine, with a port above 1023"
        )
        return ConfigError(f"{address} (server.listen) {text}")
    port = host_port(address)[1]
    other = f"{address.rpartition(':')[0]}:{port + 1 if port < _LAST_PORT else 0}"
    return ConfigError(
        f"{address} (server.listen) is taken by another program. Stop it or choose another port:",
        [f"FEDK_SERVER__LISTEN={other} fedk server"],
    )
