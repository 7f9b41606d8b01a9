"""HTTP/1.1 as uvicorn speaks it, to whoever asks something: an open connection is a file that others cannot have."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 10.0
"""Seconds that a connection has for the head of a request; uvicorn bounds only the time between requests."""

BODY = 30.0
"""Seconds within which more of a body must come."""


class Protocol(H11Protocol):
    """Hangs up on who connects and says nothing, on who says a head byte by byte, and on who stops within a body."""

    _overdue: asyncio.TimerHandle | None = None  # while something is to come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._await(HEAD)

    def handle_events(self) -> None:
        super().handle_events()
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._await(BODY)
        elif state is not h11.IDLE:
            self._stop_waiting()
        elif self._overdue is None:  # the next head is to come, or has begun
            self._await(HEAD)

    def send_400_response(self, msg: str) -> None:
        """Not behind an answer: of a body that is wrong there, uvicorn makes an error of the server."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await(self, seconds: float) -> None:
        self._stop_waiting()
        self._overdue = self.loop.call_later(seconds, self._hang_up)  # as said above

    def _stop_waiting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _hang_up(self) -> None:
        if self.flow.read_paused or self.conn.they_are_waiting_for_100_continue:  # it is this server that does not read
            self._await(BODY)
        else:
            self.transport.close()
