"""Traffic: bytes that moved for each session, counted where messages are written and read."""

from collections import Counter


class Traffic:
    """Sizes of messages and chunks as they are; HTTP/2's own bytes are not counted. Behind combiners models and sums: one
    message has the words of many tasks, and perhaps of several sessions.
    """

    def __init__(self) -> None:
        self._sent: Counter[str] = Counter()
        self._received: Counter[str] = Counter()

    def __contains__(self, session: str) -> bool:
        return session in self._sent

    def sent(self, session: str, size: int) -> None:
        self._sent[session] += size

    def received(self, session: str, size: int) -> None:
        self._received[session] += size

    def of(self, session: str) -> tuple[int, int]:
        """(sent, received) by this process."""
        return self._sent.get(session, 0), self._received.get(session, 0)
