"""The model trail: an immutable chain of models, each with a digest over its parent and all that went into it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from fedk.aggregation.record import record


@record(frozen=True, slots=True)
class Share:
    """One client's part in a model."""

    client_name: str
    update_sha256: bytes
    weight: float


def config_hash(aggregator: str, version: str, config: Mapping[str, Any]) -> bytes:
    """SHA-256 of the aggregator with version and settings."""
    return hashlib.sha256(_canonical([aggregator, version, config])).digest()


def digest(*, parent: bytes, model: bytes, config: bytes, shares: Iterable[Share]) -> bytes:
    """SHA-256 over parent digest, model hash, aggregator and contributors; never ids, times or metrics.

    Two runs that took the same updates have the same digests, whatever happened on the way.
    """
    contributors = sorted((s.client_name, s.update_sha256.hex(), s.weight.hex()) for s in shares)
    return hashlib.sha256(_canonical([parent.hex(), model.hex(), config.hex(), contributors])).digest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
