import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedk.api.hooks import Event, ServerFacts
from fedk.testing import HookSuite
from fedk.testing.readme import key_table
from fedk_plugin_eventlog import EARLY, EventLog, EventLogConfig


class TestEventLog(HookSuite):
    plugin = EventLog


def event(number: int, type_: str = "round.committed") -> Event:
    return Event(type_, "default", "s", {"name": "digits-1", "round": number}, 1764000151.0 + number, number)


def started(folder: Path, config: EventLogConfig | None = None) -> EventLog:
    log = EventLog(config)
    log.server_started(ServerFacts("root", "0.1.0", "", "", folder))
    return log


def numbers(file: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in file.read_text("utf-8").splitlines()]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Result]:
    (found,) = EventLog().cli_commands()

    def run(*words: str) -> Result:
        return CliRunner().invoke(found, ["--data-dir", str(tmp_path), *words])

    return run


def test_each_event_is_a_line_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    started(tmp_path).event(event(7))
    assert json.loads((tmp_path / "events.jsonl").read_text("utf-8")) == {
        "type": "round.committed",
        "project": "default",
        "session": "s",
        "body": {"name": "digits-1", "round": 7},
        "at": 1764000158.0,
        "seq": 7,
    }


def test_events_from_before_the_server_started_are_written_when_it_has(tmp_path: Path) -> None:
    log = EventLog()
    for number in range(EARLY + 1):
        log.event(event(number))
    log.server_started(ServerFacts("root", "0.1.0", "", "", tmp_path))
    assert numbers(tmp_path / "events.jsonl") == list(range(1, EARLY + 1))


def test_only_what_is_wanted_is_written(tmp_path: Path) -> None:
    log = started(tmp_path, EventLogConfig(only=("round.*", "client.lost")))
    for number, type_ in enumerate(["round.open", "update.accepted", "client.lost", "client.joined"]):
        log.event(event(number, type_))
    assert numbers(tmp_path / "events.jsonl") == [0, 2]


def test_a_full_file_makes_room_and_one_older_is_kept(tmp_path: Path) -> None:
    log = started(tmp_path, EventLogConfig(max_bytes=1024))
    for number in range(40):
        log.event(event(number))
    files = {path.name: path for path in tmp_path.iterdir()}
    assert files.keys() == {"events.jsonl", "events.jsonl.1"}
    kept = numbers(files["events.jsonl.1"]) + numbers(files["events.jsonl"])
    assert kept == list(range(40 - len(kept), 40))
    assert files["events.jsonl.1"].stat().st_size < 1200


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    started(tmp_path / "data", EventLogConfig(path=str(tmp_path / "mine.jsonl"))).event(event(1))
    assert numbers(tmp_path / "mine.jsonl") == [1]


def test_the_command_prints_it_for_people(tmp_path: Path, command: Callable[..., Result]) -> None:
    log = started(tmp_path)
    for number, type_ in enumerate(["round.open", "client.lost"]):
        log.event(event(number, type_))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"type": "round.comm')  # a process was killed
    lines = command().output.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["round.open", "name=digits-1", "round=0"],
        ["client.lost", "name=digits-1", "round=1"],
    ]
    assert json.loads(command("--only", "round.*", "--json").output)["seq"] == 0


def test_the_command_says_where_no_log_is(command: Callable[..., Result], tmp_path: Path) -> None:
    result = command()
    assert result.exit_code == 1
    assert f"no event log {tmp_path / 'events.jsonl'}" in result.output


def test_the_readme_has_the_table_of_settings() -> None:
    assert key_table(EventLogConfig) in (Path(__file__).parents[1] / "README.md").read_text("utf-8")
