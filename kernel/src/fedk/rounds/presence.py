"""Presence: connected, or lost for less than a session's grace time."""

import asyncio
from collections.abc import Callable

from fedk.rounds import events as ev
from fedk.rounds.live import Live
from fedk.rounds.roster import Member

Post = Callable[[str, ev.Event], None]
"""Puts an event of a session into the inbox."""


def present(member: Member) -> ev.Present:
    """What a session is told of a client that is there."""
    return ev.Present(member.id, validates=member.can("validate"), trains=member.can("train"))


class Presence:
    """Tells sessions who is there. One timer for each session and lost client, cancelled when the client is back."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._graces: dict[tuple[str, str], asyncio.TimerHandle] = {}  # by session and client

    def here(self, live: Live, member: Member) -> None:
        """The client is connected."""
        self._forget(live.state.id, member.id)
        if member.admitted(live.state.rules):
            self._post(live.state.id, present(member))

    def lost(self, live: Live, member: Member) -> None:
        """The client's stream has ended: it is present for the grace time."""
        if not member.admitted(live.state.rules):
            return
        self._forget(live.state.id, member.id)
        grace = live.state.rules.clients.grace
        handle = asyncio.get_running_loop().call_later(grace, self.gone, live.state.id, member.id)
        self._graces[live.state.id, member.id] = handle

    def gone(self, session: str, client: str) -> None:
        """The client is away for good."""
        self._forget(session, client)
        self._post(session, ev.Gone(client))

    def _forget(self, session: str, client: str) -> None:
        handle = self._graces.pop((session, client), None)
        if handle is not None:
            handle.cancel()

    def drop(self, session: str) -> None:
        """The session has ended."""
        for key in [key for key in self._graces if key[0] == session]:
            self._graces.pop(key).cancel()

    def close(self) -> None:
        """Cancel every timer."""
        for handle in self._graces.values():
            handle.cancel()
        self._graces.clear()
