"""Every command that the pages tell people to type is one that exists and takes these words."""

import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
from tests.conftest import ROOT
from tests.docs.pages import blocks

from fedk.admin.app import V1
from fedk.cli import fedk
from fedk_client.cli import fedk_client

pytestmark = pytest.mark.aside

OF_THE_SYSTEM = {"cd", "cp", "journalctl", "pytest", "source", "sqlite3", "systemctl", "useradd", "uv"}
MADE = {"client.py": "", "session.toml": "", "model.safetensors": ""}
"""Files that the pages' readers have by then."""

COMMANDS = [
    pytest.param(line.removeprefix("$ "), id=f"{block.page}: {line[2:]}")
    for block in blocks("console")
    for line in block.text.splitlines()
    if line.startswith("$ ")
]


def test_every_line_of_a_console_is_a_command() -> None:
    assert len(COMMANDS) > 50
    for block in blocks("console"):
        assert all(line.startswith("$ ") for line in block.text.splitlines()), block.id


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_known_and_takes_these_words(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(line)
    program = Path(program).name
    monkeypatch.chdir(tmp_path)
    for name, text in MADE.items():
        (tmp_path / name).write_text(text)
    match program:
        case "make":
            assert_targets(words)
        case "fedk":
            parsed(fedk, words)
        case "fedk-client":
            parsed(fedk_client, words)
        case "pip":
            assert_installable(words)
        case "python" | "python3":
            assert words[0] == "-m" or (ROOT / words[0]).is_file(), words[0]
        case "curl":
            assert_route(words)
        case _:
            assert program in OF_THE_SYSTEM, f"{program}: a command that nobody has"


def assert_targets(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


def parsed(command: click.Command, words: list[str], path: str = "") -> None:
    """As click parses it, without running anything."""
    context = command.make_context(f"{path} {command.name}".strip(), list(words))
    if isinstance(command, click.Group):
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        parsed(inner, rest, context.command_path)


def assert_installable(words: list[str]) -> None:
    assert words[0] == "install"
    files = [
        file
        for folder in ("protocol", "kernel", "client", "plugins")
        for file in (ROOT / folder).rglob("pyproject.toml")
    ]
    projects = [tomllib.loads(file.read_text())["project"] for file in files]
    ours = {project["name"] for project in projects}
    assert {word.partition("[")[0] for word in words[1:]} <= ours | {"-e", "."}  # a reader's own package


def assert_route(words: list[str]) -> None:
    url = next(word for word in words if word.startswith("http"))
    path = urlsplit(url).path.removeprefix("/api/v1")
    assert any(route.path_regex.fullmatch(path) for route in V1), path
