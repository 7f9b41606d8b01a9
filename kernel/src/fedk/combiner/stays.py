"""Stays: where each client is, by its id, and who is at a combiner below."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stay:
    """A combiner below by id, or "" for this one."""

    instance: str
    holder: str = ""


class Stays:
    """A client is at one place."""

    def __init__(self) -> None:
        self._stays: dict[str, Stay] = {}
        self._at: dict[str, dict[str, Stay]] = {}  # by holder: a thousand are asked for theirs with each word upwards

    def __iter__(self) -> Iterator[tuple[str, Stay]]:
        return iter(self._stays.items())

    def __contains__(self, client: str) -> bool:
        return client in self._stays

    def get(self, client: str) -> Stay | None:
        return self._stays.get(client)

    def at(self, holder: str) -> Mapping[str, Stay]:
        """Who is there."""
        return self._at.get(holder, {})

    def put(self, client: str, stay: Stay) -> None:
        """It is there, and nowhere else."""
        self.forget(client)
        self._stays[client] = stay
        self._at.setdefault(stay.holder, {})[client] = stay

    def forget(self, client: str) -> None:
        if (stay := self._stays.pop(client, None)) is not None:
            del self._at[stay.holder][client]
            if not self._at[stay.holder]:
                del self._at[stay.holder]
