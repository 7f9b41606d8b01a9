"""Sessions over REST, on a real runner with real rows."""

import pytest
from sqlalchemy import insert

from fedk.rounds.clients import Offer
from fedk.state import tables as t
from fedk.testing.site import Play, Site

GOOD = Play(loss=0.25, accuracy=0.75)


async def test_a_session_runs_to_its_end_and_says_where_it_stands(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    found = await site.start(until="session.finished", rounds=3)
    assert (found["status"], found["round"], found["rounds"]) == ("finished", 3, 3)
    assert found["head"]["ref"] == "digits-1/3"
    assert found["metrics"] == {"round": 3, "values": {"train.loss": 0.25, "validate.accuracy": 0.75}}
    assert [(one["client"], one["outcome"]) for one in found["current"]["clients"]] == [
        ("a", "committed"),
        ("b", "committed"),
    ]
    assert (found["current"]["accepted"], found["current"]["remaining"], found["waiting_for"]) == (2, None, [])
    assert found["rules"]["round"]["deadline"] == 600.0


async def test_rounds_carry_what_a_table_of_a_run_shows(site: Site) -> None:
    await site.players.join("a", Play(loss=1.0, accuracy=0.5, examples=30))
    await site.players.join("b", Play(loss=2.0, accuracy=0.9, examples=10))
    await site.start(until="session.finished", rounds=2)
    answer = (await site.rest.get("/api/v1/sessions/digits-1/rounds")).json()
    assert [row["round"] for row in answer["rounds"]] == [1, 2]
    first = answer["rounds"][0]
    assert (first["state"], first["updates"], first["target"], first["examples"]) == ("committed", 2, 2, 40)
    assert first["metrics"] == {"train.loss": 1.25, "validate.accuracy": pytest.approx(0.6)}  # weighted 30 : 10
    assert (first["measured"], first["refused"], first["failed"], first["lost"]) == (2, 0, 0, 0)
    assert first["seconds"] == pytest.approx(first["closed_at"] - first["opened_at"], abs=1e-5)


async def test_pages_of_rounds_and_trail_follow_each_other_without_gap_or_overlap(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=5)
    for noun, key, first, count in (("rounds", "rounds", 1, 3), ("trail", "models", 0, 4)):
        seen, after, pages = [], -1, 0
        while after is not None:
            query = f"/api/v1/sessions/digits-1/{noun}?after={after}&limit=2"
            page = (await site.rest.get(query)).json()
            seen += [one["round"] for one in page[key]]
            assert all(not one.get("broken") for one in page[key])
            after, pages = page["next"], pages + 1
        assert (seen, pages) == (list(range(first, 6)), count)


async def test_metrics_are_means_by_round_or_what_each_client_said(site: Site) -> None:
    await site.players.join("a", Play(loss=1.0))
    await site.players.join("b", Play(loss=3.0))
    await site.start(until="session.finished", rounds=1)
    means = (await site.rest.get("/api/v1/sessions/latest/metrics")).json()["metrics"]
    assert {"round": 1, "name": "train.loss", "value": 2.0, "clients": 2, "num_examples": 20} in means
    each = (await site.rest.get("/api/v1/sessions/latest/metrics?round=1")).json()["metrics"]
    assert [(m["client"], m["value"]) for m in each if m["name"] == "train.loss"] == [("a", 1.0), ("b", 3.0)]


async def test_a_failed_session_says_what_each_client_did_and_can_go_on(site: Site) -> None:
    healed = False

    def refused(_: Offer) -> Play:
        return GOOD if healed else Play(refuse="non-finite", detail="w has 1 NaN of 4")

    await site.players.join("a", GOOD)
    await site.players.join("b", refused)
    await site.players.join("c", lambda _: GOOD if healed else Play(fail="failed", detail="ValueError at client.py:21"))
    found = await site.start(until="session.failed", rounds=1, clients={"min": 3}, validation={"every": 0})
    assert found["status"] == "failed"
    assert "quorum 3 of 3 not reached: 1 updates" in found["why"]
    assert (found["current"]["attempts"], found["current"]["state"], found["current"]["accepted"]) == (3, "failed", 1)
    words = {one["client"]: one for one in found["current"]["clients"]}
    assert (words["a"]["outcome"], words["a"]["reason"]) == ("accepted", "")
    assert (words["b"]["outcome"], words["b"]["reason"], words["b"]["times"]) == ("rejected", "non-finite", 2)
    assert (words["c"]["outcome"], words["c"]["detail"]) == ("failed", "ValueError at client.py:21")
    healed = True
    with site.desk.feed.listen() as listener:
        resumed = await site.rest.post("/api/v1/sessions/digits-1/resume", json={"changes": {"round.quorum": 0.6}})
        assert (resumed.status_code, resumed.json()["rules"]["round"]["quorum"]) == (200, 0.6)
        async for event in listener:
            if event.type == "session.finished":
                break


async def test_a_waiting_session_says_for_what(site: Site) -> None:
    await site.players.join("a", GOOD)
    found = await site.start(until="session.running")
    assert found["waiting_for"] == [{"for": "clients", "present": 1, "min": 2}]
    paused = (await site.rest.post("/api/v1/sessions/digits-1/pause")).json()
    assert (paused["status"], paused["waiting_for"][0]["for"]) == ("paused", "person")
    running = (await site.rest.post("/api/v1/sessions/digits-1/resume")).json()
    assert running["status"] == "running"
    stopped = (await site.rest.post("/api/v1/sessions/digits-1/stop")).json()
    assert (stopped["status"], stopped["waiting_for"]) == ("stopped", [])
    again = await site.rest.post("/api/v1/sessions/digits-1/resume")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    assert again.json()["error"]["message"].startswith("session digits-1 is stopped, and has ended for good")


async def test_all_mistakes_of_a_body_come_at_once_with_their_keys(site: Site) -> None:
    body = {
        "rouns": 3,
        "name": "-x",
        "clients": {"min": 0, "select": "site = north"},
        "round": {"deadline": "10 minutes"},
        "stop_when": "validate.accuracy => 0.9",
        "model": 7,
    }
    answer = await site.rest.post("/api/v1/sessions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == (422, "bad-request", "session: 7 mistakes")
    found = {tuple(one["key"]): f"{one['subject']} {one['text']}" for one in error["mistakes"]}
    assert found["rouns",] == "rouns = 3 is not a key here. Did you mean rounds?"
    assert found["clients", "min"] == "clients.min = 0 must be ≥ 1"
    assert found["clients", "select"].startswith('clients.select = "site = north" wants "random" or ATTRIBUTE')
    assert found["stop_when",].startswith('stop_when = "validate.accuracy => 0.9" wants METRIC >= NUMBER')
    assert "wants a number with one of" in found["round", "deadline"]
    assert found.keys() >= {("name",), ("model",)}


async def test_the_aggregators_own_table_is_checked_with_the_rules(site: Site) -> None:
    body = {"clients": {"min": 0}, "aggregator": {"use": "fedavg", "fedavg": {"weihgting": "uniform"}}}
    error = (await site.rest.post("/api/v1/sessions", json=body)).json()["error"]
    keys = [tuple(one["key"]) for one in error["mistakes"]]
    assert keys == [("clients", "min"), ("aggregator", "fedavg", "weihgting")]
    unknown = (await site.rest.post("/api/v1/sessions", json={"aggregator": {"use": "fedavgg"}})).json()["error"]
    assert 'Did you mean "fedavg"?' in unknown["mistakes"][0]["text"]
    plugins = (await site.rest.get("/api/v1/plugins")).json()["plugins"]
    assert "fedavgg" not in {one["name"] for one in plugins}  # who misspells a name leaves nothing behind


async def test_a_driver_that_only_a_body_names_is_no_plugin_that_needs_attention(site: Site) -> None:
    async def known() -> list[tuple[str, str]]:
        return [(one["name"], one["state"]) for one in (await site.get("plugins"))["plugins"]]

    before = await known()
    for kind in ("aggregator", "codec"):
        assert (await site.rest.post("/api/v1/sessions", json={kind: {"use": "x" * 100_000}})).status_code == 422
    assert await known() == before


async def test_a_session_without_a_name_is_called_by_its_stem_and_a_number(site: Site) -> None:
    for name in ("digits-1", "digits-2"):
        created = await site.rest.post("/api/v1/sessions", json={"stem": "digits"})
        assert (created.status_code, created.json()["name"]) == (201, name)
        assert created.headers["location"] == f"/api/v1/sessions/{created.json()['id']}"


async def test_a_check_starts_nothing_and_fills_the_defaults_in(site: Site) -> None:
    checked = await site.rest.post("/api/v1/sessions?check=true", json={"rounds": 7})
    assert (checked.status_code, checked.json()["rules"]["rounds"]) == (200, 7)
    assert (await site.rest.get("/api/v1/sessions")).json() == {"sessions": []}


@pytest.mark.parametrize("said", ["1", "True", "yes", ""])
async def test_a_check_that_is_misspelt_starts_nothing(site: Site, said: str) -> None:
    answer = await site.rest.post(f"/api/v1/sessions?check={said}", json={"rounds": 7})
    assert (answer.status_code, "wants true or false" in answer.json()["error"]["message"]) == (422, True)
    assert (await site.get("sessions"))["sessions"] == []


async def test_a_taken_name_and_an_unknown_model_are_refused(site: Site) -> None:
    await site.rest.post("/api/v1/sessions", json={"name": "digits"})
    again = await site.rest.post("/api/v1/sessions", json={"name": "digits"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    unknown = await site.rest.post("/api/v1/sessions", json={"model": "digit/3"})
    assert unknown.status_code == 404
    assert 'no session "digit"' not in unknown.json()["error"]["message"]  # "digit" begins digits
    assert 'no model "digits/3". It has none yet' in unknown.json()["error"]["message"]


async def test_a_session_starts_from_the_model_of_another(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=2)
    started = await site.rest.post(
        "/api/v1/sessions", json={"name": "next", "model": "digits-1/2", "clients": {"min": 9}}
    )
    assert started.status_code == 201
    trail = (await site.rest.get("/api/v1/sessions/next/trail")).json()["models"]
    other = (await site.rest.get("/api/v1/models/digits-1/2")).json()
    assert trail[0]["sha256"] == other["sha256"]


async def named(site: Site, *names: str) -> None:
    for name in names:
        assert (await site.rest.post("/api/v1/sessions", json={"name": name})).status_code == 201


async def test_a_session_is_found_by_name_id_prefix_and_latest(site: Site) -> None:
    await named(site, "digits-1", "digits-12", "mnist")
    ids = {one["name"]: one["id"] for one in (await site.rest.get("/api/v1/sessions")).json()["sessions"]}
    for ref, name in (
        ("digits-1", "digits-1"),  # a whole name, although another one begins with it
        ("m", "mnist"),
        (ids["digits-12"], "digits-12"),
        (ids["mnist"][:6], "mnist"),
        ("latest", "mnist"),
    ):
        assert (await site.rest.get(f"/api/v1/sessions/{ref}")).json()["name"] == name, ref


async def test_an_ambiguous_reference_lists_the_choices_and_an_unknown_one_what_was_meant(site: Site) -> None:
    await named(site, "digits-1", "digits-12", "mnist")
    ambiguous = await site.rest.get("/api/v1/sessions/digits")
    assert ambiguous.status_code == 409
    assert ambiguous.json()["error"]["message"] == (
        '"digits" begins more than one session: digits-12, digits-1. Give more of it'
    )
    unknown = await site.rest.get("/api/v1/sessions/minst")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"] == (
        'no session "minst". Did you mean "mnist"? There are: mnist, digits-12, digits-1'
    )
    for wild in ("%25", "_"):  # what LIKE would take for anything
        assert (await site.rest.get(f"/api/v1/sessions/{wild}")).status_code == 404


async def test_before_the_first_session_the_next_step_is_said(site: Site) -> None:
    answer = await site.rest.get("/api/v1/sessions/latest")
    assert answer.json()["error"]["message"] == (
        'no session in project "default" yet. Begin one: fedk session start FILE'
    )


async def test_projects_do_not_see_each_other(site: Site) -> None:
    async with site.store.transaction() as tx:
        await tx.execute(insert(t.projects).values(id="other", name="other", limits={}))
    await named(site, "digits-1")
    assert (await site.rest.get("/api/v1/sessions?project=other")).json() == {"sessions": []}
    assert (await site.rest.get("/api/v1/sessions/digits-1?project=other")).status_code == 404
    unknown = await site.rest.get("/api/v1/sessions?project=othr")
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (
        404,
        'project "othr" does not exist here. Did you mean "other"? Projects: default, other',
    )


@pytest.mark.parametrize("query", ["after=x", "after=-2", "limit=0", "limit=1001", "limit=" + "9" * 5000])
async def test_a_page_that_makes_no_sense_is_refused(site: Site, query: str) -> None:
    await named(site, "digits-1")
    answer = await site.rest.get(f"/api/v1/sessions/digits-1/rounds?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad-request")
    assert "wants a whole number from" in answer.json()["error"]["message"]
