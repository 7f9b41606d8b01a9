"""The specification prints what the code has."""

import re
from pathlib import Path

import numpy as np

from fedk_protocol.codec import DTYPES, HEADER_MAX, Safetensors
from fedk_protocol.metadata import AUTHORIZATION, TICKET
from fedk_protocol.reasons import Reason
from fedk_protocol.v1.federation_pb2 import DESCRIPTOR
from fedk_protocol.version import VERSION

HOME = Path(__file__).parents[1]
TEXT = (HOME / "SPECIFICATION.md").read_text()


def section(title: str) -> str:
    return TEXT.partition(f"{title}\n")[2].partition("\n## ")[0]


def test_its_table_of_reason_codes_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \|$", section("Reason codes"), re.MULTILINE)
    assert rows == [(reason, reason.scope, reason.meaning, reason.next_step) for reason in Reason]


def test_its_dtypes_are_those_of_the_codec() -> None:
    words = set(re.findall(r"`([A-Z]+[0-9]*(?:_[A-Z0-9]+)?)`", section("The byte format").partition("| dtypes")[2]))
    assert words == set(DTYPES)


def test_its_example_of_a_blob_is_what_the_codec_writes() -> None:
    prefix, header, data = section("The byte format").partition("```\n")[2].partition("\n```")[0].splitlines()
    blob = Safetensors().dumps({"w": np.zeros(2, np.float32), "n": np.asarray(1)})
    assert bytes.fromhex(prefix) + header.replace("·", " ").encode() + bytes.fromhex(data) == blob


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"version {VERSION[0]}.{VERSION[1]}" in TEXT
    assert f"`{TICKET}`" in TEXT
    assert f"`{AUTHORIZATION}`" in TEXT
    assert f"its limit ({HEADER_MAX // 2**20} MiB)" in TEXT


def test_it_tells_of_every_message_on_the_stream() -> None:
    for message in ("ClientMessage", "ServerMessage"):
        for field in DESCRIPTOR.message_types_by_name[message].fields:
            assert field.message_type is not None
            assert field.message_type.name in TEXT


def test_the_example_of_the_readme_runs() -> None:
    code = (HOME / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 — our own README
