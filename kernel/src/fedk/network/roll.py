"""The roll: the clients that were named on a combiner's stream, by number. Both of its ends count them alike."""

from collections.abc import Iterable


class Roll:
    """From 0, in the order in which `Members.here` names them first. Who has left keeps the number."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def enter(self, clients: Iterable[str]) -> None:
        for client in clients:
            if client not in self._numbers:
                self._numbers[client] = len(self._names)
                self._names.append(client)

    def __getitem__(self, client: str) -> int:
        """Of a client that was named."""
        return self._numbers[client]

    def number(self, client: str) -> int | None:
        """Of a client; None: it was not named."""
        return self._numbers.get(client)

    def name(self, number: int) -> str:
        """Of a number. ValueError: nobody has it."""
        if number >= len(self._names):
            raise ValueError(f"client {number} of a stream that has named {len(self._names)}")
        return self._names[number]
