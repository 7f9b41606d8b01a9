"""Session files: what stands in them, what is set over it, and where a mistake is."""

import math
from pathlib import Path

import click
import pytest

from fedk.api.errors import ConfigError
from fedk.api.mistake import Mistake
from fedk.cli.assignment import Assignment
from fedk.cli.session_file import changes, parsed, read, rule

TEXT = """\
rounds = 20
model = "client.py:app"
[clients]
min = 3
[client_settings]
epochs = 2
[aggregator.fedavg]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "my digits!"
    folder.mkdir()
    path = folder / "session.toml"
    path.write_text(TEXT)
    return path


def test_a_file_is_its_data_its_folder_and_a_name_to_number(file: Path) -> None:
    session = read(file)
    assert session.data["clients"] == {"min": 3}
    assert (session.folder, session.stem) == (file.parent, "my-digits")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("rounds", ("rounds",)),
        ("round.quorum", ("round", "quorum")),
        ("aggregator.fedyogi.tau", ("aggregator", "fedyogi", "tau")),
        ("async.buffer", ("async", "buffer")),
        ("name", ("name",)),
        ("epochs", ("client_settings", "epochs")),
        ("optimizer.momentum", ("client_settings", "optimizer", "momentum")),
        ("client_settings.rounds", ("client_settings", "rounds")),
    ],
)
def test_what_is_no_rule_is_a_setting_for_clients(key: str, place: tuple[str, ...]) -> None:
    assert rule(key) == place


def test_settings_stand_over_the_file_and_leave_the_rest(file: Path) -> None:
    session = read(file, [("rounds", 3), ("epochs", 5), ("lr", 0.1), ("round.quorum", 0.5)])
    assert session.data["rounds"] == 3
    assert session.data["client_settings"] == {"epochs": 5, "lr": 0.1}
    assert (session.data["round"], session.data["clients"]) == ({"quorum": 0.5}, {"min": 3})


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(file: Path) -> None:
    found = [
        Mistake(("round", "quorum"), "round.quorum = 2", "must be ≤ 1"),
        Mistake(("aggregator", "fedavg"), "[aggregator.fedavg]", "is no driver"),
        Mistake(("clients", "min"), "clients.min = 3", "is above clients.max"),
        Mistake(("rounds",), "rounds = 20", "is too much"),
    ]
    error = read(file, [("round.quorum", 2)]).error(found)
    assert str(error).splitlines() == [
        f"{file}: 4 mistakes",
        "  line 1   rounds = 20           is too much",
        "  line 4   clients.min = 3       is above clients.max",
        "  line 7   [aggregator.fedavg]   is no driver",
        "  --set    round.quorum = 2      must be ≤ 1",
    ]


def test_rules_are_made_of_file_settings_and_rounds(file: Path) -> None:
    rules = parsed({"clients": {"min": 3}}, [("epochs", 2)], rounds=7, file=file)
    assert (rules.rounds, rules.clients.min, rules.client_settings) == (7, 3, {"epochs": 2})
    with pytest.raises(ConfigError, match=r"line 4   clients.min = 0   must be ≥ 1"):
        parsed({"clients": {"min": 0}}, [], file=file)


def test_what_toml_has_and_json_lacks_is_a_mistake_with_its_line(file: Path) -> None:
    file.write_text("[client_settings]\nday = 2026-11-30\nlr = [0.1, inf]\n[limits]\nmax_abs = nan\n")
    with pytest.raises(ConfigError) as error:
        read(file)
    assert str(error.value).splitlines() == [
        f"{file}: 3 mistakes",
        '  line 2   client_settings.day = "2026-11-30"   wants text, in quotes',
        "  line 3   client_settings.lr = inf             wants a finite number",
        "  line 5   limits.max_abs = nan                 wants a finite number",
    ]


def test_what_a_resume_changes_is_checked_likewise() -> None:
    assert changes([("round.quorum", 0.6), ("lr", 0.1)]) == {"round.quorum": 0.6, "client_settings.lr": 0.1}
    with pytest.raises(ConfigError, match=r"--set   client_settings\.lr = inf   wants a finite number"):
        changes([("lr", math.inf)])


def test_a_file_that_is_not_there_names_the_nearest(file: Path) -> None:
    with pytest.raises(click.UsageError, match=r"no file sesion.toml \(in .*\). Did you mean session.toml\?"):
        read(file.with_name("sesion.toml"))


def test_a_file_that_is_no_toml_says_where(file: Path) -> None:
    file.write_text("rounds = \n")
    with pytest.raises(ConfigError, match=r"line 1, column 10   is not TOML"):
        read(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=2", 2), ("k=0.5", 0.5), ("k=true", True), ('k="2"', "2"), ("k=[1, 2]", [1, 2]), ("k=", ""),
        ("k=north", "north"), ("k=a=b", "a=b"), ("k=10m", "10m"), ('k=site == "north"', 'site == "north"'),
        ("k=1\nx=2", "1\nx=2"), ("k=2026-11-30", "2026-11-30"), ("k=" + "9" * 5_000, "9" * 5_000),
    ],
)  # fmt: skip
def test_a_value_is_what_toml_reads_or_text(text: str, value: object) -> None:
    assert Assignment().convert(text, None, None) == ("k", value)


@pytest.mark.parametrize("text", ["k", "=2", ".=2", "a.=2", " =1"])
def test_what_is_no_assignment_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"wants KEY=VALUE, for example round\.quorum=0\.8"):
        Assignment().convert(text, None, None)
