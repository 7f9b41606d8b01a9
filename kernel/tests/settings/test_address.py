import pytest

from fedk.settings import host_port, is_loopback


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:6090", "127.0.0.1", 6090),
        ("[::1]:6090", "::1", 6090),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("fl.example.org:65535", "fl.example.org", 65535),
        ("localhost:0", "localhost", 0),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    assert host_port(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["6090", ":6090", "localhost", "localhost:", "::1:6090", "[::1]", "a b:1", "h:65536", "h:-1", "h:1 ", "http://h:1",
     "256.0.0.1:1", "1.2.3:1", "[::g]:1", "[1.2.3.4]x:1"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ValueError, match="wants HOST:PORT, for example"):
        host_port(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"])
def test_only_this_machine_reaches_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "fl.example.org:1", "localhost.org:1"])
def test_other_machines_may_reach_any_other_address(address: str) -> None:
    assert not is_loopback(address)
