"""Sayings: what a client says for people to read, within bounds, also where a combiner passes it on."""

import math
import re
from collections.abc import Mapping

from fedk.api.printable import printable
from fedk.network.hello import ID
from fedk.network.results import EXACT, METRICS, is_word
from fedk_protocol.v1 import federation_pb2 as pb

LINE = 10_000
"""Characters of a log line that are passed on."""

REASON = re.compile(r"[a-z][a-z0-9-]{0,31}")
"""What may be a code, also one of a later version."""

LEVELS = frozenset({"debug", "info", "warning", "error"})


def why(reason: str, detail: str) -> tuple[str, str]:
    """The code and the words of a failure."""
    return reason if REASON.fullmatch(reason) else "raised", text(detail)


def text(words: str) -> str:
    """As much of it as is passed on, which steers no terminal."""
    return printable(words[:LINE], keep="\n\t")


def curve(progress: pb.Progress) -> tuple[int, Mapping[str, float]] | None:
    """Step and numbers of a live curve's point; None where it is none."""
    finite = {name: value for name, value in progress.metrics.items() if math.isfinite(value)}  # JSON has no NaN
    if not ID.fullmatch(progress.task) or len(finite) > METRICS or not all(map(is_word, finite)):
        return None
    return min(EXACT, progress.step), finite


def line(log: pb.Log) -> tuple[str, str, str]:
    """Task, level and text of a line."""
    return log.task if ID.fullmatch(log.task) else "", log.level if log.level in LEVELS else "info", text(log.text)
