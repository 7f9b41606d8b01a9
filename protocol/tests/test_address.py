import pytest

from fedk_protocol.address import dialled, host_port, is_dialled


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:6090", "127.0.0.1", 6090),
        ("[::1]:6090", "::1", 6090),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("fl.example.org:65535", "fl.example.org", 65535),
        ("localhost:0", "localhost", 0),
        ("fedk_server:6090", "fedk_server", 6090),
        ("847362910482:6090", "847362910482", 6090),  # a container, of 12 hex digits: one in 280 has no letter
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    assert host_port(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["6090", ":6090", "localhost", "localhost:", "::1:6090", "[::1]", "a b:1", "h:65536", "h:-1", "h:1 ", "http://h:1",
     "256.0.0.1:1", "1.2.3:1", "[::g]:1", "[1.2.3.4]x:1",
     "[1.2.3.4]:1", "unix:/run/fedk:1", "x" * 254 + ":1", "[" + ":" * 100_000 + "]:1"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ValueError, match="wants HOST:PORT, for example"):
        host_port(address)


def test_nobody_dials_port_0() -> None:
    with pytest.raises(ValueError, match="ports are 1 to 65535"):
        dialled("localhost:0")
    assert [is_dialled(f"localhost:{port}") for port in (0, 1, 65535, 65536)] == [False, True, True, False]
