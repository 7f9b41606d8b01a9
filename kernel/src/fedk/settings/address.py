"""Addresses to listen on: HOST:PORT, [IPv6]:PORT."""

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BeforeValidator

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Za-z:.%_-]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535
_WANTED = 'wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"'


def host_port(address: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port; port 0 is any free one. ValueError says what is wanted."""
    match = _HOST_PORT.fullmatch(address)
    if match is None:
        raise ValueError(_WANTED)
    host, port = match["v6"] or match["host"], int(match["port"])
    if port > _LAST_PORT:
        raise ValueError(f"{_WANTED}; ports end at {_LAST_PORT}")
    if match["v6"] or host.replace(".", "").isdigit():
        _literal(host)
    return host, port


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it. A name other than localhost may lead anywhere."""
    host, _ = host_port(address)
    try:
        ip = ip_address(host)
    except ValueError:
        return host.casefold() == "localhost"
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip.is_loopback or (mapped is not None and bool(mapped.is_loopback))


def is_address(value: Any) -> bool:
    """Whether it is HOST:PORT."""
    try:
        host_port(value)
    except (TypeError, ValueError):
        return False
    return True


def _literal(host: str) -> None:
    try:
        ip_address(host)
    except ValueError as error:
        raise ValueError(f"{_WANTED}; {host} is no IP address") from error


def _checked(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(_WANTED)  # noqa: TRY004  # pydantic takes a TypeError for a fault of the program
    host_port(value)
    return value


Address = Annotated[str, BeforeValidator(_checked, json_schema_input_type=str)]
