"""What a round costs where training costs nothing."""

from tests.conftest import ROOT, Fedk

ECHO = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"


def test_a_round_of_ten_clients_moves_its_models_and_little_else(fedk: Fedk) -> None:
    run = fedk("run", ECHO, "--clients", "10", "--rounds", "50", "--data-dir", "D", "--json").json
    assert (run["status"], run["rounds"]) == ("finished", 50)
    moved = 10 * 50 * 40_000  # bytes each way, and a header for each
    assert 1 < run["bytes"]["received"] / moved < 1.05
    assert 1 < run["bytes"]["sent"] / moved < 1.05


def test_a_model_beyond_inline_travels_by_upload_and_download(fedk: Fedk) -> None:
    words = ("--clients", "3", "--rounds", "3", "--data-dir", "D", "--json")
    run = fedk("run", ECHO, *words, env={"ECHO_WEIGHTS": "500000"}).json
    assert (run["status"], run["rounds"]) == ("finished", 3)
    trail = fedk("model", "trail", "--verify", "--data-dir", "D", "--json").json
    assert len({model["sha256"] for model in trail["models"]}) == 1  # one update each came back unchanged
