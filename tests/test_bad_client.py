"""One of five clients misbehaves in every round: the session goes on with the other four."""

import pytest
from tests.conftest import ROOT, Fedk

CLIENT = ROOT / "tests" / "clients" / "bad.py"


@pytest.mark.parametrize(
    ("fault", "verdict", "reason"),
    [
        ("raises", "failed", "raised"),
        ("nan", "rejected", "non-finite"),
        ("shapes", "rejected", "bad-shape"),
        ("names", "rejected", "bad-names"),
        ("dtype", "rejected", "bad-dtype"),
        ("zero-examples", "rejected", "no-examples"),
    ],
)
def test_bad_client_is_refused_and_the_session_finishes_with_the_other_four(
    fedk: Fedk, fault: str, verdict: str, reason: str
) -> None:
    words = ("--clients", "5", "--rounds", "3", "--option", f"fault={fault}", "--data-dir", "D", "--json")
    document = fedk("run", f"{CLIENT}:app", *words).json
    assert (document["status"], document["rounds"]) == ("finished", 3)
    trail = fedk("model", "trail", "--data-dir", "D", "--json").json
    models = [model for model in trail["models"] if model["round"] > 0]
    for model in models:
        assert {share["client"] for share in model["updates"]} == {f"client-{n}" for n in (2, 3, 4, 5)}
        refusals = [r for r in model["refusals"] if r["client"] == "client-1"]
        assert refusals
        assert {(r["verdict"], r["reason"]) for r in refusals} == {(verdict, reason)}
