"""Clients of unlike speed: what waiting for the slowest costs, and a buffer that waits for nobody."""

from typing import Any

import pytest
from tests.conftest import ROOT, Fedk, Figure

COMPARE = ROOT / "examples" / "asynchronous" / "compare.py"
TARGET = 0.9
"""Share of the images, which no client trained on, that are to be named rightly."""


@pytest.mark.chaos
def test_chaos_a_buffer_is_as_good_as_rounds_in_less_time_with_speeds_spread_1_to_10(
    fedk: Fedk, figure: Figure
) -> None:
    rounds, buffer = fedk("python", COMPARE, "--only", "fedavg,fedbuff", "--json").json
    sync, other = reached(rounds), reached(buffer)
    figure(clients=10, target=f"{TARGET:.0%}", fedavg=f"{sync:.1f} s", fedbuff=f"{other:.1f} s",
           at_the_end=f"{rounds['accuracy'][-1]:.3f} and {buffer['accuracy'][-1]:.3f}")  # fmt: skip
    assert (rounds["mode"], buffer["mode"]) == ("sync", "async")
    assert other < sync


def reached(course: Any) -> float:
    """Seconds until the first model that is so good."""
    return float(next(at for at, share in zip(course["seconds"], course["accuracy"], strict=True) if share >= TARGET))
