"""Draws of a session: which clients are asked, and the seeds of their tasks. A function of the session's seed alone."""

import hashlib
import random
from collections.abc import Iterable


def seed(session_seed: int, *parts: object) -> int:
    """A seed of 63 bits for what `parts` name; the same on every machine and after every restart."""
    text = "\x00".join(map(str, (session_seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def draw(names: Iterable[str], count: int, session_seed: int, round_: int, attempt: int) -> list[str]:
    """`count` of `names`, over their sorted order, so that arrival order does not matter."""
    chosen = random.Random(seed(session_seed, "draw", round_, attempt))  # noqa: S311  # reproducible, not secret
    pool = sorted(names)
    return chosen.sample(pool, min(count, len(pool)))
