"""What happens, in a file: one JSON object a line."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from pydantic import Field

from fedk.api.config import Size
from fedk.api.hooks import Config, Event, HookPlugin, ServerFacts, hookimpl

__all__ = ["EventLog", "EventLogConfig"]

EARLY = 1000
"""Events from before the data directory is known that are kept in memory."""


class EventLogConfig(Config):
    """Where to write, and what."""

    path: str = Field("events.jsonl", min_length=1, description="the file; a relative one is in the data_dir")
    only: tuple[str, ...] = Field(("*",), min_length=1, description="events to write, by pattern: round.*")
    max_bytes: Size = Field(
        100 * 2**20, ge=2**10, description="at this size the file becomes PATH.1, the one before goes"
    )


class EventLog(HookPlugin[EventLogConfig]):
    """Appends every event; a file that a person moves away is begun anew."""

    def __init__(self, config: EventLogConfig | None = None) -> None:
        super().__init__(config)
        self._path: Path | None = None
        self._early: deque[Event] = deque(maxlen=EARLY)

    @hookimpl
    def server_started(self, server: ServerFacts) -> None:
        self._path = server.data_dir / Path(self.config.path).expanduser()
        while self._early:
            self.event(self._early.popleft())

    @hookimpl
    def event(self, event: Event) -> None:
        if not any(fnmatchcase(event.type, pattern) for pattern in self.config.only):
            return
        if self._path is None:
            self._early.append(event)
            return
        if self._path.is_file() and self._path.stat().st_size >= self.config.max_bytes:
            self._path.replace(f"{self._path}.1")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False, default=str) + "\n")

    @hookimpl
    def cli_commands(self) -> Sequence[click.Command]:
        return [_command(self.config.path)]


def _command(path: str) -> click.Command:
    @click.command("eventlog", help="Print the event log of a data directory.")
    @click.option("--data-dir", default="fedk-data", show_default=True, type=click.Path(path_type=Path))
    @click.option("--only", default="*", show_default=True, help="Events by pattern: round.*")
    @click.option("--json", "as_json", is_flag=True, help="The lines as they are.")
    def eventlog(data_dir: Path, only: str, as_json: bool) -> None:  # click's signature
        file = data_dir / Path(path).expanduser()
        if not file.is_file():
            raise click.ClickException(
                f"no event log {file}: a server that enables the plugin writes it (--data-dir DIR)"
            )
        for line, event in _lines(file):
            if fnmatchcase(event["type"], only):
                click.echo(line if as_json else _text(event))

    return eventlog


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The last line may be half: a process that was killed wrote it."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            yield line.rstrip("\n"), event


def _text(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["at"], UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S} {event['type']:<16} " + " ".join(f"{k}={v}" for k, v in event["body"].items())
