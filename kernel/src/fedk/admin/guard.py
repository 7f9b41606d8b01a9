"""The guard: whoever reaches the port may steer the server, and so could any web page in a browser of this machine."""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from fedk.admin.errors import answer

NEXT = "Ask from the command line, or from a page of this server, by its address"
_FOREIGN = ("cross-site", "same-site")
_SHOWN = 100  # characters of a header that a message repeats


class Guard:
    """Refuses what foreign pages send: their Origin is not this server, or the browser says that they want a part of
    themselves from it. A link to a page of this server is followed.

    And what a page sends whose own name was made to lead here (DNS rebinding): over loopback comes only who calls this
    machine by a number or by a name of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = _wrong(Request(scope)) if scope["type"] == "http" else ""
        app = answer(403, "foreign", f"{wrong}. {NEXT}") if wrong else self._app
        await app(scope, receive, send)


def _wrong(request: Request) -> str:
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if origin is not None and _place(origin) != host.casefold():
        return f"a page of {origin[:_SHOWN]!a} sent this request"
    if request.headers.get("sec-fetch-site") in _FOREIGN and request.headers.get("sec-fetch-dest") != "document":
        return "a page from elsewhere wants this for a part of itself"  # as an image: that sends no Origin
    if _over_loopback(request.scope) and not _own(host):
        return f"{host[:_SHOWN]!a} (Host) is no name of this machine"
    return ""


def _place(origin: str) -> str:
    """HOST:PORT of http://HOST:PORT; "" of anything else, as `null`."""
    try:
        return urlsplit(origin).netloc.casefold()
    except ValueError:
        return ""


def _over_loopback(scope: Scope) -> bool:
    address = (scope.get("server") or ("", 0))[0]
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return ip.is_loopback


def _own(host: str) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name in ("", "localhost", socket.gethostname().casefold()):  # "": an old program, no browser
        return True
    try:
        ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True
