"""Addresses of servers: HOST:PORT, [IPv6]:PORT."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

WANTED = 'wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"'

_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Za-z:.%_-]{2,64})\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]{0,252})):(?P<port>[0-9]{1,5})"
)
_LAST_PORT = 65535


def host_port(address: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port; port 0 is any free one. ValueError says what is wanted."""
    match = _HOST_PORT.fullmatch(address)
    if match is None:
        raise ValueError(WANTED)
    host, port = match["v6"] or match["host"], int(match["port"])
    if port > _LAST_PORT:
        raise ValueError(f"{WANTED}; ports end at {_LAST_PORT}")
    try:
        if match["v6"]:
            IPv6Address(host)
        elif "." in host and host.replace(".", "").isdigit():
            IPv4Address(host)
    except AddressValueError as error:
        raise ValueError(f"{WANTED}; {host} is no IP address") from error
    return host, port


def dialled(address: str) -> str:
    """The address, which others can dial: port 0 is nobody's. ValueError as above."""
    if not host_port(address)[1]:
        raise ValueError(f"{WANTED}; ports are 1 to {_LAST_PORT}")
    return address


def is_dialled(address: str) -> bool:
    """Whether others can dial it."""
    try:
        dialled(address)
    except ValueError:
        return False
    return True
