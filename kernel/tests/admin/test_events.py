"""Live events over REST: what is written first, then what comes, each once."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2

from fedk.testing.site import Play, Site

GOOD = Play(loss=0.25, accuracy=0.75)


async def events(site: Site, query: str = "", **headers: str) -> AsyncGenerator[httpx2.ServerSentEvent]:
    async with site.rest.stream("GET", f"/api/v1/events?{query}", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for event in httpx2.EventSource(answer):
            yield event


async def told(site: Site, query: str, **headers: str) -> list[tuple[int, str]]:
    return [(int(one.id), one.event) async for one in events(site, f"{query}&live=false", **headers)]


async def test_the_log_is_replayed_and_goes_on_live_without_gap_or_repetition(site: Site) -> None:
    await site.players.join("a", GOOD)
    seen = []
    async with aclosing(events(site, "after=0")) as stream:
        async for event in stream:
            seen.append(int(event.id))
            if event.event == "client.joined" and len(seen) == 1:
                await site.players.join("b", GOOD)
                await site.start(until="session.finished", rounds=2)
            if event.event == "model.measured" and json.loads(event.data)["body"]["round"] == 2:
                break
    assert seen == list(range(1, len(seen) + 1))


async def test_a_browser_that_has_heard_more_than_a_restored_database_has_hears_what_comes(site: Site) -> None:
    headers = {"last-event-id": "1000000"}
    async with asyncio.timeout(10), site.rest.stream("GET", "/api/v1/events", headers=headers) as answer:
        pieces = answer.aiter_text()
        assert await anext(pieces) == ": events\n\n"
        await site.players.join("a", GOOD)
        assert "client.joined" in await anext(pieces)


async def test_an_event_carries_number_session_body_and_time(site: Site) -> None:
    await site.players.join("a", GOOD)
    async with aclosing(events(site, "after=0")) as stream:
        async for event in stream:
            data = json.loads(event.data)
            assert (event.id, event.event) == ("1", "client.joined")
            assert (data["seq"], data["project"], data["session"], data["body"]["client"]) == (1, "default", None, "a")
            break


async def test_a_session_is_heard_alone_and_a_reader_goes_on_where_it_was(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=1)
    await site.rest.post("/api/v1/sessions", json={"name": "other", "model": await site.put(), "clients": {"min": 9}})
    mine = await told(site, "session=digits-1&after=0")
    assert mine[0][1] == "session.running"
    assert not {"client.joined"} & {kind for _, kind in mine}
    assert await told(site, f"session=digits-1&after={mine[2][0]}") == mine[3:]
    for address in ("", "&after=0", "&rounds=99"):  # a browser that connects again asks by the same one
        assert await told(site, f"session=digits-1{address}", **{"last-event-id": str(mine[2][0])}) == mine[3:]


async def test_a_watcher_gets_the_last_rounds_from_their_opening(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=4)
    last_two = await told(site, "session=digits-1&rounds=2")
    assert [kind for _, kind in last_two].count("round.open") == 2
    assert last_two[0][1] == "round.open"
    assert await told(site, "session=digits-1&rounds=99") == await told(site, "session=digits-1&after=0")


async def test_without_a_place_to_start_only_news_is_told(site: Site) -> None:
    await site.players.join("a", GOOD)
    assert await told(site, "") == []


async def test_progress_is_heard_live_has_no_number_and_is_not_kept(site: Site) -> None:
    client = await site.players.join("a", GOOD)
    async with aclosing(events(site, "after=0")) as stream:
        async for event in stream:
            if event.event == "client.joined":
                site.players.door.progress(client, "", 3, {"loss": 0.5})
            if event.event == "client.progress":
                data = json.loads(event.data)
                break
    assert (data["seq"], data["body"]["step"], data["body"]["client"]) == (0, 3, "a")
    assert [kind for _, kind in await told(site, "after=0")] == ["client.joined"]


async def test_a_reader_who_leaves_listens_no_longer(site: Site) -> None:
    await site.players.join("a", GOOD)
    async with aclosing(events(site, "after=0")) as stream:
        async for _ in stream:
            assert len(site.desk.feed._listeners) == 1
            break
    assert len(site.desk.feed._listeners) == 0


async def test_a_stream_ends_when_the_server_does(site: Site) -> None:
    await site.players.join("a", GOOD)
    seen = []
    async for event in events(site, "after=0"):
        seen.append(event.event)
        site.desk.feed.close()
    assert seen == ["client.joined"]


async def test_an_unknown_session_is_no_stream_but_an_error(site: Site) -> None:
    answer = await site.rest.get("/api/v1/events?session=x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")
