"""What a client may say of itself."""

from typing import Any

import grpc
import pytest

from fedk.network.calls import Ended
from fedk.network.hello import joining
from fedk_protocol.v1 import federation_pb2 as pb

HELLO: dict[str, Any] = {
    "version": pb.Version(major=1),
    "project": "default",
    "name": "site-1.north_A",
    "instance": "0f" * 16,
    "attributes": {"site": "north"},
    "capabilities": ["train", "codec:npz"],
    "software": "fedk-client 0.1.0",
}
KEPT: dict[str, Any] = {"task": "t1", "result_id": "r1", "sha256": b"h" * 32, "size": 9}


def test_an_honest_one_is_taken_as_it_is() -> None:
    found = joining(pb.Hello(**HELLO, outbox=[pb.Kept(**KEPT)]))
    assert (found.project, found.name, found.attributes) == ("default", "site-1.north_A", {"site": "north"})
    assert (found.capabilities, found.software) == (("train", "codec:npz"), "fedk-client 0.1.0")
    assert (found.outbox[0].task, found.outbox[0].sha256, found.outbox[0].size) == ("t1", b"h" * 32, 9)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "name"),
        ("name", "../../etc", "name"),
        ("name", "-a", "a letter or digit first"),
        ("name", "a" * 101, "1 to 100"),
        ("name", "a\n", "name"),
        ("instance", "", "instance"),
        ("instance", "a b", "without spaces"),
        ("instance", "a" * 65, "1 to 64"),
        ("project", "p" * 101, "project"),
        ("software", "new\nline", "software"),
        ("attributes", {str(n): "x" for n in range(65)}, "attributes: 65 entries, at most 64"),
        ("attributes", {"k" * 101: "x"}, "attributes"),
        ("attributes", {"site": "x" * 1_001}, "attribute site: 1,001 characters"),
        ("attributes", {"site": "\x1b[2J"}, "attribute site: .* is not printable"),
        ("name", "\x1b[2J", 'name ".x1b'),
        ("capabilities", ["x"] * 65, "capabilities: 65 entries"),
        ("capabilities", ["x" * 101], "capabilities"),
        ("outbox", [pb.Kept(**KEPT)] * 1_001, "outbox: 1,001 entries"),
        ("outbox", [pb.Kept(**{**KEPT, "sha256": b"short"})], "sha256 of 5 bytes"),
        ("outbox", [pb.Kept(**{**KEPT, "task": ""})], "outbox: task"),
        ("working", ["t"] * 1_001, "working: 1,001 entries"),
        ("working", ["t" * 65], "working"),
        ("tasks", 1_001, "tasks 1,001: at most 1,000"),
    ],
)
def test_what_is_out_of_bounds_is_named(field: str, value: Any, says: str) -> None:
    with pytest.raises(Ended, match=says) as caught:
        joining(pb.Hello(**{**HELLO, field: value}))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
