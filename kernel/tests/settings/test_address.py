import pytest

from fedk.settings import is_loopback


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"])
def test_only_this_machine_reaches_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "fl.example.org:1", "localhost.org:1"])
def test_other_machines_may_reach_any_other_address(address: str) -> None:
    assert not is_loopback(address)
