"""Whether a result's bytes are still those that arrived. Blocking."""

import hashlib
from collections.abc import Iterable, Mapping

from fedk.api.errors import BlobError
from fedk.blobs.reader import Reader
from fedk.rounds.clients import Arrival
from fedk.rounds.live import Taken
from fedk.rounds.making import COPY


def damaged(taken: Mapping[str, Taken], tasks: Iterable[str]) -> tuple[str, ...]:
    """The tasks whose results are no longer what was accepted."""
    return tuple(task for task in tasks if task in taken and not _whole(taken[task].arrival))


def _whole(arrival: Arrival) -> bool:
    if arrival.span is None:
        return True
    found = hashlib.sha256()
    try:
        with Reader(arrival.span) as reader:
            for at in range(0, reader.size, COPY):
                found.update(reader.read(at, min(COPY, reader.size - at)))
    except BlobError:
        return False
    return found.digest() == arrival.sha256
