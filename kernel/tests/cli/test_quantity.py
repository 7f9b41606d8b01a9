"""Quantities as people read them."""

import time

import pytest

from fedk.cli import quantity


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (136, "136 B"), (999, "999 B"), (1000, "1.0 kB"), (38_800, "38.8 kB"), (388_000, "388 kB"),
        (999_600, "1.0 MB"), (7_800_000, "7.8 MB"), (99_960_000, "100 MB"), (5.4e10, "54.0 GB"), (2e15, "2000 TB"),
    ],
)  # fmt: skip
def test_bytes(count: float, text: str) -> None:
    assert quantity.size(count) == text


def test_seconds_have_four_digits_and_spans_their_units() -> None:
    assert [quantity.seconds(value) for value in (0.0644, 9.999, 30.11, 1204.4, None)] == [
        "0.064", "9.999", "30.11", "1204", "–",
    ]  # fmt: skip
    assert [quantity.span(value) for value in (3.9, 59.9, 60, 581, 3722)] == ["3 s", "59 s", "1:00", "9:41", "1:02:02"]


def test_metrics_keep_what_matters() -> None:
    assert [quantity.metric(value) for value in (0.0, 0.9394, 12.5, 1e-5, 123456.0, -0.5)] == [
        "0.000", "0.939", "12.500", "1e-05", "1.23e+05", "-0.500",
    ]  # fmt: skip


def test_moments_of_today_are_times_and_others_days() -> None:
    now = time.time()
    assert len(quantity.moment(now)) == len("14:02:11")
    assert len(quantity.moment(now - 86_400 * 3)) == len("2026-11-24 14:02")
    assert [quantity.ago(now - past) for past in (0.2, 9.5, 200, 7300, 90_000 * 2)] == [
        "now", "9 s", "3 min", "2 h", "2 d",
    ]  # fmt: skip
