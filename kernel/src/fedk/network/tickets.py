"""Tickets: what proves, on calls beside the stream, which client is calling."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass

import grpc

from fedk.network.calls import Context, Ended
from fedk_protocol.metadata import TICKET

LIFE = 3600.0
"""Seconds that a ticket outlives its stream: an upload may go on while its client is coming back."""


class BadTicket(Exception):
    """Not a ticket of this server, or changed on the way."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """`holder` is the server that may hold what the client uploads."""

    client: str
    instance: str
    holder: str
    expires: float  # seconds since the epoch
    above: str = ""  # the ticket with which the client was sent to this server

    @property
    def expired(self) -> bool:
        return self.expires < time.time()


def brought(context: Context) -> str:
    """The ticket in a call's metadata, as it is; "" for none."""
    return str(dict(context.invocation_metadata() or ()).get(TICKET, ""))


class Tickets:
    """Mints and verifies them: JSON and its HMAC-SHA256, in characters that gRPC metadata take."""

    def __init__(self, holder: str, key: bytes = b"") -> None:
        self._holder = holder
        self._key = key or secrets.token_bytes(32)  # anew for each process: Welcome brings a new ticket after a restart

    def mint(self, client: str, instance: str, holder: str = "", above: str = "") -> str:
        """Of a client of this server, or of one that `holder` is to take."""
        ticket = Ticket(client, instance, holder or self._holder, time.time() + LIFE, above)
        body = json.dumps(asdict(ticket), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._seal(body) + body).decode()

    def read(self, text: str) -> Ticket:
        """The ticket, expired or not. Raises BadTicket."""
        try:
            raw = base64.urlsafe_b64decode(text.encode())
        except (binascii.Error, ValueError) as error:
            raise BadTicket("not a ticket") from error
        seal, body = raw[:32], raw[32:]
        if not hmac.compare_digest(seal, self._seal(body)):
            raise BadTicket("not a ticket of this server")
        return Ticket(**json.loads(body))

    def of(self, context: Context) -> Ticket:
        """The one that a call carries, expired or not. Raises Ended."""
        try:
            return self.read(brought(context))
        except BadTicket as error:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, f"{TICKET}: {error}") from error

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)
