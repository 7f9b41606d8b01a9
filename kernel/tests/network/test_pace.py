"""How much a client may chatter."""

from fedk.network.pace import Pace


def test_a_burst_passes_and_the_flood_behind_it_does_not() -> None:
    pace = Pace(rate=0.001, burst=3)
    assert [pace.allows() for _ in range(5)] == [True, True, True, False, False]


def test_it_recovers_with_time() -> None:
    pace = Pace(rate=1e9, burst=1)
    assert all(pace.allows() for _ in range(100))
