"""HTTP/1.1 as uvicorn speaks it, to whoever asks something: an open connection is a file that others cannot have."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

GREETING = 10.0
"""Seconds that a connection has for the head of its first request; uvicorn bounds only the time between requests."""


class Protocol(H11Protocol):
    """Hangs up on who connects and says nothing, or says it byte by byte."""

    _greeting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._greeting = self.loop.call_later(GREETING, self._greeted)  # as said above

    def connection_lost(self, exc: Exception | None) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
        super().connection_lost(exc)

    def _greeted(self) -> None:
        if self.cycle is None:  # no request has come
            self.transport.close()
