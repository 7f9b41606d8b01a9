"""Hello: what a client says of itself, within bounds."""

import re
from collections.abc import Collection, Mapping

from fedk.api.printable import printable
from fedk.network.calls import violated
from fedk.rounds.clients import Joining, Kept
from fedk.rounds.rules import NAME
from fedk_protocol.v1 import federation_pb2 as pb

ID = re.compile(r"[!-~]{1,64}")
"""Instances, tasks, result ids: 1 to 64 printable characters."""

TEXT, LONG_TEXT = 100, 1_000
"""Characters of a name of something, and of a value."""

ATTRIBUTES, CAPABILITIES, RESULTS, TASKS = 64, 64, 1_000, 1_000
"""How many of each one client may have: far beyond honest ones, far below what hurts."""

MOST = 512 * 2**10
"""Bytes of a Hello with that much of everything. Two bytes can make an entry, which takes eighty once it is parsed."""

_HASH = 32


def joining(hello: pb.Hello, ticket: str = "") -> Joining:
    """Raises Ended, with the field that is out of bounds."""
    if not re.fullmatch(NAME, hello.name):
        raise violated(f'name "{printable(hello.name[:TEXT])}": 1 to 100 of A–Z a–z 0–9 . _ -, a letter or digit first')
    _check_id("instance", hello.instance)
    _check_words("project", [hello.project], 1)
    _check_words("software", [hello.software], 1)
    check_attributes(hello.attributes)
    _check_words("capabilities", hello.capabilities, CAPABILITIES)
    _check_count("outbox", hello.outbox, RESULTS)
    _check_count("working", hello.working, TASKS)
    for task in hello.working:
        _check_id("working", task)
    if hello.tasks > TASKS:
        raise violated(f"tasks {hello.tasks:,}: at most {TASKS:,}")
    return Joining(
        project=hello.project,
        name=hello.name,
        instance=hello.instance,
        attributes=dict(hello.attributes),
        capabilities=tuple(hello.capabilities),
        outbox=tuple(_kept(kept) for kept in hello.outbox),
        software=hello.software,
        ticket=ticket,
    )


def _kept(kept: pb.Kept) -> Kept:
    _check_id("outbox: task", kept.task)
    _check_id("outbox: result_id", kept.result_id)
    if len(kept.sha256) != _HASH:
        raise violated(f"outbox: sha256 of {len(kept.sha256)} bytes")
    return Kept(kept.task, kept.result_id, kept.sha256, kept.size)


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Raises Ended."""
    _check_words("attributes", attributes, ATTRIBUTES)
    for name, value in attributes.items():
        if len(value) > LONG_TEXT:
            raise violated(f"attribute {name}: {len(value):,} characters, at most {LONG_TEXT:,}")
        if not value.isprintable():
            raise violated(f"attribute {name}: {value[:TEXT]!a} is not printable")


def _check_words(field: str, words: Collection[str], most: int) -> None:
    _check_count(field, words, most)
    for word in words:
        if len(word) > TEXT or not word.isprintable():
            raise violated(f"{field} {word[:TEXT]!r}: at most {TEXT} printable characters")


def _check_count(field: str, items: Collection[object], most: int) -> None:
    if len(items) > most:
        raise violated(f"{field}: {len(items):,} entries, at most {most:,}")


def _check_id(field: str, value: str) -> None:
    if not ID.fullmatch(value):
        raise violated(f"{field} {value[:64]!r}: 1 to 64 printable characters without spaces")
