"""Addresses to listen on, and those where others are."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BeforeValidator

from fedk_protocol.address import WANTED, dialled, host_port


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


def _checked(check: Callable[[str], object]) -> BeforeValidator:
    def checked(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(WANTED)  # noqa: TRY004  # pydantic takes a TypeError for a fault of the program
        check(value)
        return value

    return BeforeValidator(checked, json_schema_input_type=str)


Address = Annotated[str, _checked(host_port)]
"""To listen on: port 0 is any free one."""

Dialled = Annotated[str, _checked(dialled)]
