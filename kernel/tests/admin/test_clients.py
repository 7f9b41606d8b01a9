"""Clients over REST."""

from fedk.testing.site import Play, Site, weights

GOOD = Play(examples=36)


async def test_a_list_of_clients_says_what_they_do_and_did(site: Site) -> None:
    await site.players.join("a", GOOD, site="north")
    await site.players.join("b", Play(refuse="non-finite"), site="south")
    await site.start(
        until="session.finished", rounds=2, round={"quorum": 0.5}, clients={"min": 2}, validation={"every": 0}
    )
    a, b = (await site.rest.get("/api/v1/clients")).json()["clients"]
    assert (a["name"], a["state"], a["examples"], a["accepted"], a["refused"]) == ("a", "connected", 36, 2, 0)
    assert (b["name"], b["attributes"], b["examples"], b["accepted"]) == ("b", {"site": "south"}, None, 0)
    assert b["refused"] >= 2
    assert (a["doing"], a["present_for"], a["capabilities"]) == ([], None, ["init", "train", "validate"])


async def test_a_client_that_works_says_on_what_and_for_how_long(site: Site) -> None:
    await site.players.join("a", Play(silent=True))
    await site.players.join("b", Play(silent=True))
    put = (await site.rest.post("/api/v1/models", content=weights(0.0))).json()["id"]
    with site.desk.feed.listen() as listener:
        await site.rest.post("/api/v1/sessions", json={"name": "digits-1", "model": put})
        async for event in listener:
            if event.type == "round.open":
                break
        await site.rest.post("/api/v1/sessions/digits-1/pause")  # a commit after which the tasks are in the rows
    (doing,) = (await site.rest.get("/api/v1/clients/a")).json()["doing"]
    assert (doing["kind"], doing["session"], doing["round"]) == ("train", "digits-1", 1)
    assert doing["state"] in ("queued", "sent")


async def test_a_lost_client_says_for_how_long_it_is_still_present(site: Site) -> None:
    a = await site.players.join("a", GOOD)
    b = await site.players.join("b", GOOD)
    site.players.leave(a, "lost")
    site.players.leave(b, "goodbye")
    await site.players.join("c", GOOD)  # its row is written after theirs
    found = {one["name"]: one for one in (await site.rest.get("/api/v1/clients")).json()["clients"]}
    assert found["a"]["state"] == "lost"
    assert 0 < found["a"]["present_for"] <= 30
    assert (found["b"]["state"], found["b"]["present_for"]) == ("left", None)


async def test_one_client_shows_how_its_last_tasks_ended(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=1, validation={"every": 0})
    found = (await site.rest.get("/api/v1/clients/a")).json()
    assert [(task["session"], task["round"], task["kind"], task["verdict"]) for task in found["tasks"]] == [
        ("digits-1", 1, "train", "committed")
    ]
    unknown = await site.rest.get("/api/v1/clients/zoe")
    assert unknown.json()["error"]["message"] == 'no client "zoe". There are: b, a'
