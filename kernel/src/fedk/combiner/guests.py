"""Guests: the clients that have joined by a combiner below since this server's start, by id and by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedk.rounds.clients import Joining


@dataclass(slots=True)
class Guest:
    project: str
    name: str
    attributes: Mapping[str, str]
    holder: str  # the combiner that it was at last


class Guests:
    """Each stays until the combiner that it was at says that it has gone, or is lost."""

    def __init__(self) -> None:
        self._guests: dict[str, Guest] = {}  # by id
        self._ids: dict[tuple[str, str], str] = {}  # by project and name
        self._at: dict[str, dict[str, None]] = {}  # ids, by holder

    def put(self, client: str, joining: Joining, holder: str) -> None:
        if client in self._guests:
            self.forget(client)
        self._guests[client] = Guest(joining.project, joining.name, joining.attributes, holder)
        self._ids[joining.project, joining.name] = client
        self._at.setdefault(holder, {})[client] = None

    def get(self, client: str) -> Guest | None:
        return self._guests.get(client)

    def named(self, project: str, name: str) -> str:
        """Its id; "" for nobody's."""
        return self._ids.get((project, name), "")

    def of(self, holder: str) -> list[str]:
        """Those that were last at this combiner."""
        return list(self._at.get(holder, ()))

    def move(self, client: str, holder: str) -> None:
        """It is at this combiner."""
        if (guest := self._guests.get(client)) is not None:
            self._leave(client, guest.holder)
            guest.holder = holder
            self._at.setdefault(holder, {})[client] = None

    def forget(self, client: str) -> None:
        guest = self._guests.pop(client)
        self._leave(client, guest.holder)
        if self._ids.get((guest.project, guest.name)) == client:
            del self._ids[guest.project, guest.name]

    def _leave(self, client: str, holder: str) -> None:
        del self._at[holder][client]
        if not self._at[holder]:
            del self._at[holder]
