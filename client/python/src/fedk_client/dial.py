"""A channel to one server."""

import grpc

_OPTIONS = [
    # a dead server or a dropped link is noticed within 30 s, also by a client that only waits
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # its default of a minute would be waited for beside the line above
    ("grpc.http2.max_pings_without_data", 0),
    # the back-off is this library's: each try is a channel of its own, which fails at once or within 5 s
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),
    # the server limits its messages; tasks may bring several inline blobs
    ("grpc.max_receive_message_length", 64 * 2**20),
]
_NEAR = ("127.", "localhost:", "[::1]:", "unix:")


def dial(address: str) -> grpc.aio.Channel:
    """To HOST:PORT. Proxies of the environment are passed by where the server is on this machine."""
    proxy = [("grpc.enable_http_proxy", 0)] if address.startswith(_NEAR) else []
    return grpc.aio.insecure_channel(address, options=[*_OPTIONS, *proxy])


async def reaches(channel: grpc.aio.Channel) -> bool:
    """Whether a server of gRPC answers there: False at once, or within the 5 s above."""
    state = channel.get_state(try_to_connect=True)
    while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
    return state is grpc.ChannelConnectivity.READY
