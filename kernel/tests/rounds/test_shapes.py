"""Sessions with aggregators of every shape, wrapped and followed: a whole server without a wire."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from fedk.api.codec import Safetensors
from fedk.state import tables as t
from fedk.testing.site import Play, Site, site

ROBUST = ["fedmedian", "trimmed-mean", "krum", "multi-krum", "geometric-median", "bulyan"]
HONEST = (1.0, 1.02, 0.98, 1.01, 0.99, 1.03)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "data") as opened:
        yield opened


async def joined(here: Site, *adds: float) -> None:
    for number, add in enumerate(adds):
        await here.players.join(f"p{number}", Play(add=add))


async def finished(here: Site, name: str = "digits-1", *, until: str = "session.finished", **rules: Any) -> Any:
    return await here.start(name, until=until, validation={"every": 0}, **rules)


async def weights(here: Site, session: str, no: int) -> Any:
    content = (await here.rest.get(f"/api/v1/models/{session}/{no}/content")).content
    return Safetensors().decode(content)["w"].tolist()


async def refused(here: Site, **rules: Any) -> str:
    body = {"name": "wrong", "model": await here.put(), **rules}
    answer = await here.rest.post("/api/v1/sessions", json=body)
    assert answer.status_code in (400, 409, 422), answer.text
    return str(answer.json())


@pytest.mark.parametrize("use", ROBUST)
async def test_a_session_holds_against_one_liar_of_seven(here: Site, use: str) -> None:
    await joined(here, *HONEST, -500.0)
    found = await finished(here, rounds=3, clients={"min": 7}, aggregator={"use": use})
    assert found["status"] == "finished"
    after = await weights(here, "digits-1", 3)
    assert all(2.9 < value < 3.1 for value in after), after


async def test_clients_min_becomes_what_the_formula_needs(here: Site) -> None:
    await joined(here, *HONEST, 1.0)
    found = await finished(here, rounds=1, aggregator={"use": "bulyan"})
    assert (found["rules"]["clients"]["min"], found["rules"]["round"]["min_updates"]) == (7, 7)


async def test_rules_that_allow_fewer_updates_than_the_formula_needs_are_refused_with_the_numbers(here: Site) -> None:
    text = await refused(here, clients={"min": 4}, round={"min_updates": 2}, aggregator={"use": "krum"})
    assert "krum needs 5 updates, and round.min_updates = 2 with round.quorum = 1.0 of clients.min = 4 allow 4" in text


async def test_a_round_is_not_opened_with_fewer_clients_than_the_formula_needs_updates(here: Site) -> None:
    await joined(here, *HONEST[:5])
    found = await finished(here, rounds=1, clients={"min": 2}, aggregator={"use": "krum"})
    assert found["rules"]["clients"]["min"] == 5


async def test_fewer_clients_at_most_than_the_formula_needs_updates_are_refused(here: Site) -> None:
    text = await refused(here, clients={"max": 3}, aggregator={"use": "krum"})
    assert "clients.max = 3 is fewer than the 5 updates that a round needs" in text


async def test_a_step_follows_any_shape_and_its_state_goes_on(here: Site) -> None:
    """Momentum at the server, η = 1, β = 0.9: 1, then 1.9 more, then 2.71."""
    await joined(here, 1.0, 1.0, 1.0, 1.0, 900.0)
    rules = {"use": "fedmedian", "then": "fedavgm", "fedavgm": {"momentum": 0.9}}
    found = await finished(here, rounds=3, aggregator=rules)
    assert found["aggregator"] == "fedmedian then fedavgm"
    assert await weights(here, "digits-1", 3) == pytest.approx([1 + 1.9 + 2.71] * 4)


async def test_a_private_session_shows_epsilon_and_ends_when_it_is_spent(here: Site) -> None:
    """z = 1, delta 1e-5: one model costs epsilon 4.377, two 6.573, three 8.385."""
    await joined(here, *[0.1] * 4)
    dp = {"noise_multiplier": 1.0, "clip": 0.5, "epsilon": 8.0}
    found = await finished(here, rounds=50, aggregator={"use": "fedavg", "wrap": ["central-dp"], "central-dp": dp})
    wanted = "privacy budget: epsilon 6.573 of 8 is spent (delta 1e-05), one more model would make it 8.385"
    assert (found["why"], found["aggregator"]) == (wanted, "central-dp(fedavg)")
    rounds = (await here.get("sessions/digits-1/rounds"))["rounds"]
    spent = {row["round"]: row["metrics"].get("aggregator.epsilon") for row in rounds}
    assert spent == {1: pytest.approx(4.377, abs=1e-3), 2: pytest.approx(6.573, abs=1e-3)}
    assert rounds[0]["metrics"]["aggregator.clip"] == 0.5
    assert rounds[0]["measured"] == 0, "nobody measured a model"
    trail = await here.get("sessions/digits-1/trail")
    assert trail["models"][2]["metrics"]["aggregator.epsilon"] == pytest.approx(6.573, abs=1e-3)
    async with here.store.reading() as db:
        assert await db.scalar(select(t.sessions.c.folds)) == 2


async def test_two_runs_with_noise_do_not_end_alike(here: Site) -> None:
    await joined(here, *[0.1] * 4)
    dp = {"noise_multiplier": 1.0, "clip": 0.5}
    ends = []
    for name in ("one", "two"):
        await finished(here, name, rounds=1, aggregator={"use": "fedavg", "wrap": ["central-dp"], "central-dp": dp})
        ends.append(await weights(here, name, 1))
    assert not np.allclose(*ends)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (
            {"use": "krum", "wrap": ["central-dp"]},
            "goes around mean-shaped aggregators, and fedk_plugin_krum.Krum is none",
        ),
        *(
            ({"use": use, "wrap": ["central-dp"]}, "uses more of an update than its mean")
            for use in ("fedbuff", "fednova", "scaffold", "qfedavg")
        ),
        ({"use": "central-dp"}, "goes around another aggregator: aggregator.wrap, not aggregator.use"),
        ({"use": "fedavg", "then": "krum"}, "only the step of a mean-shaped one can"),
        ({"use": "fedavg", "wrap": ["fedavgm"]}, "fedk_plugin_fedavgm.FedAvgM goes around nothing"),
        ({"use": "fedavg", "then": "fedada"}, "fedada"),
    ],
)
async def test_what_does_not_go_together_is_refused_at_the_start(here: Site, rules: Any, text: str) -> None:
    dp = {"noise_multiplier": 1.0, "clip": 0.5}
    assert text in await refused(here, aggregator={**rules, "central-dp": dp})


async def test_privacy_is_not_promised_where_a_client_may_be_in_a_model_twice(here: Site) -> None:
    rules = {"use": "fedavg", "wrap": ["central-dp"], "central-dp": {"noise_multiplier": 1.0, "clip": 0.5}}
    assert 'not with mode = "async"' in str(await refused(here, mode="async", aggregator=rules)).replace('\\"', '"')


async def test_a_budget_that_one_model_would_overspend_is_refused_at_the_start(here: Site) -> None:
    dp = {"noise_multiplier": 1.0, "clip": 0.5, "epsilon": 4.0}
    text = await refused(here, aggregator={"use": "fedavg", "wrap": ["central-dp"], "central-dp": dp})
    assert "would make no model: privacy budget: epsilon 0 of 4 is spent" in text


@pytest.mark.parametrize("use", ["fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fedprox"])
async def test_privacy_goes_around_what_uses_the_mean_only(here: Site, use: str) -> None:
    await joined(here, *[0.1] * 3)
    dp = {"noise_multiplier": 1.0, "clip": 0.5}
    found = await finished(here, rounds=2, aggregator={"use": use, "wrap": ["central-dp"], "central-dp": dp})
    assert (found["status"], found["aggregator"]) == ("finished", f"central-dp({use})")


async def test_a_needed_setting_that_is_missing_is_named(here: Site) -> None:
    text = await refused(here, aggregator={"use": "fedavg", "wrap": ["central-dp"]})
    assert "noise_multiplier" in text
    assert "clip" in text
