"""Bodies that are no honest JSON: refused as the sender's mistake, and nothing of them is kept."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fedk.admin import document
from fedk.testing.site import Site

SETTINGS = '{{"client_settings": {{"a": {}}}}}'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[" * 100_000, "the body is no JSON"),
        (SETTINGS.format('{"a":' * 200 + "1" + "}" * 200), "more than 64 levels"),
        (SETTINGS.format("9" * 10_000), "beyond 64 bits"),
        (SETTINGS.format(2**63), "beyond 64 bits"),
        (SETTINGS.format("NaN"), "NaN is no finite number"),
        (SETTINGS.format("-Infinity"), "-Infinity is no finite number"),
        (SETTINGS.format("1e999"), "1e999 is no finite number"),
        (SETTINGS.format(r'"\ud800"'), "is not Unicode text"),
        (SETTINGS.format(r'{"\udfff": 1}'), "is not Unicode text"),
        ('{"rounds": 1, "clients": {"min": 2, "max": 3, "min": 4}}', "'min' stands twice in one table"),
        (r'{"\ud800": 1}', "is not Unicode text"),
        ('{"aggregator": {"wrap": [' + '"central-dp",' * 1_000 + '"fedprox"]}}', "the most is 16"),
        (r'{"name": "\ud800"}', "is not Unicode text"),
        ('{"name": "digits\\n"}', "wants letters"),
        ('{"round": {"deadline": "' + "9" * 400 + 's"}}', "wants a finite number"),
        (b'{"name": "\xff"}', "the body is no JSON"),
        ("{}".encode("utf-16"), "the body is no JSON"),
    ],
)
async def test_a_hostile_body_is_a_mistake_and_starts_nothing(site: Site, body: str | bytes, why: str) -> None:
    answer = await site.rest.post("/api/v1/sessions", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "bad-request")
    assert why in json.dumps(error, ensure_ascii=False)
    assert (await site.get("sessions"))["sessions"] == []


async def test_a_body_is_read_no_further_than_to_its_limit(site: Site) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield b" " * 2**16

    answer = await site.rest.post("/api/v1/sessions", content=endless())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
    assert sent <= document.MOST + 2**18


@pytest.mark.parametrize("table", [(), ("clients",), ("aggregator",), ("aggregator", "fedprox")])
async def test_of_thousands_of_mistakes_a_hundred_are_told(site: Site, table: tuple[str, ...]) -> None:
    body: dict[str, Any] = {f"k{n}": {} for n in range(10_000)}
    for name in reversed(table):
        body = {name: body}
    if len(table) == 2:
        body["aggregator"]["use"] = table[-1]
    mistakes = (await site.rest.post("/api/v1/sessions", json=body)).json()["error"]["mistakes"]
    assert len(mistakes) == 100  # to tell them all took seconds, in which nobody else was served


async def test_what_a_session_file_may_hold_is_taken(site: Site) -> None:
    settings = {"lr": 0.1, "name": "größe ✓", "layers": [1, -(2**63), {"deep": None}]}
    answer = await site.rest.post("/api/v1/sessions", json={"name": "s", "client_settings": settings})
    assert answer.status_code == 201
    assert (await site.get("sessions/s"))["rules"]["client_settings"] == settings
