"""Whether a result's bytes are still those that arrived. Blocking."""

import hashlib
from collections.abc import Iterable, Mapping

from fedk.aggregation.intake import Place
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
    try:
        with Reader(arrival.span) as reader:
            return all(_hash(reader, place) == place.sha256 for place in arrival.blobs.values())
    except BlobError:
        return False


def _hash(reader: Reader, place: Place) -> bytes:
    """Of a blob as it is kept: what travelled in a codec is kept natively."""
    found, end = hashlib.sha256(), place.offset + place.size
    for at in range(place.offset, end, COPY):
        found.update(reader.read(at, min(COPY, end - at)))
    return found.digest()
