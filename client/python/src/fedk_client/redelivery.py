"""What became of the results that a Hello listed: one line for a person, once all have been answered."""

import logging

from fedk_protocol.v1 import federation_pb2 as pb

log = logging.getLogger("fedk_client")


class Redelivery:
    """Of one stream."""

    def __init__(self, hello: pb.Hello) -> None:
        self.listed = frozenset(kept.result_id for kept in hello.outbox)
        self._open, self._sent = set(self.listed), set[str]()
        self._words: list[str] = []
        self._opening = ""

    def begin(self, opening: str) -> None:
        """`opening` stands before what became of the results."""
        self._opening = opening

    def sent(self, result_id: str) -> None:
        """Its bytes are on their way."""
        self._sent.add(result_id)

    def answered(self, result_id: str, word: str) -> None:
        """The server has said `word` of it: receipt, committed, late …"""
        if result_id not in self._open:
            return
        self._open.remove(result_id)
        self._words.append(f"{'result redelivered' if result_id in self._sent else 'result was there already'}, {word}")
        if not self._open:
            log.info("%s%s", self._opening, "; ".join(self._words))
