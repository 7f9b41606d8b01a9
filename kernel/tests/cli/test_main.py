import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from fedk.api.errors import ConfigError, FedkError
from fedk.cli import NOUNS, Nouns


def answered(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """`fedk config` raises it."""

    def command(_: Nouns, __: click.Context, ___: str) -> click.Command:
        def raises() -> None:
            raise error

        return click.Command("config", callback=raises)

    monkeypatch.setattr(Nouns, "get_command", command)


def test_the_version_is_that_of_the_distribution(fedk: Any) -> None:
    assert fedk("--version").out == f"fedk {version('fedk')}\n"


def test_the_help_names_every_noun_and_imports_none() -> None:
    code = (
        "import sys; from fedk.cli import fedk; fedk(['--help'], standalone_mode=False);"
        "print(*(m for m in sys.modules if m.split('.')[0] in ('pydantic', 'stevedore', 'rich', 'sqlalchemy', 'grpc')"
        " or m.startswith('fedk.cli.')), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {noun} " in result.stdout for noun in NOUNS)
    assert result.stderr.strip() == ""


def test_without_arguments_the_help_is_shown_and_the_usage_is_wrong(fedk: Any) -> None:
    outcome = fedk()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


def test_a_misspelt_noun_or_verb_names_the_nearest(fedk: Any) -> None:
    outcome = fedk("confg")
    assert outcome.code == 2
    assert (
        outcome.err
        == "fedk: No such command 'confg'. Did you mean 'config'?\n      fedk --help  shows what there is.\n"
    )
    outcome = fedk("config", "chekc")
    assert (outcome.code, "Did you mean 'check'?" in outcome.err) == (2, True)


def test_a_misspelt_option_names_the_nearest_and_the_help(fedk: Any) -> None:
    outcome = fedk("config", "check", "--confg", "x")
    assert outcome.code == 2
    assert "Did you mean '--config'?\n      fedk config check --help  shows what there is." in outcome.err


def test_an_error_of_ours_is_one_paragraph_without_a_traceback(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, FedkError("the port is taken.\nStop its program"))
    outcome = fedk("config")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "fedk: the port is taken.\n      Stop its program\n"


def test_mistakes_of_a_configuration_are_a_table_and_exit_78(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, ConfigError("fedk.toml: 2 mistakes", ["line 1   a", "line 2   b"]))
    outcome = fedk("config")
    assert (outcome.code, outcome.err) == (78, "fedk.toml: 2 mistakes\n  line 1   a\n  line 2   b\n")


def test_debug_anywhere_in_the_line_shows_the_traceback(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, FedkError("it failed"))
    for arguments in (("--debug", "config"), ("config", "--debug")):
        outcome = fedk(*arguments)
        assert outcome.err.startswith("Traceback (most recent call last):")
        assert outcome.err.endswith("fedk: it failed\n")


def test_a_fault_of_fedk_is_said_to_be_one(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, KeyError("round"))
    outcome = fedk("config")
    assert outcome.code == 1
    assert outcome.err == "fedk: KeyError: 'round'\n      This is a fault of fedk. Again with --debug it shows where.\n"


def test_an_interrupted_command_exits_130(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, KeyboardInterrupt())
    assert fedk("config").code == 130


def test_a_reader_that_stops_reading_is_no_error() -> None:
    code = "from fedk.cli import main; main(['config', 'example'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("points", [b"[fedk.hooks]\nno target\nx = x:X\n", b"\xff\xfe"])
def test_one_broken_entry_point_of_a_distribution_ends_no_command(tmp_path: Path, points: bytes) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: broken\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_bytes(points)
    words = [sys.executable, "-c", "from fedk.cli import main; main(['plugins', 'list'])"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYDANTIC_")}
    ended = subprocess.run(words, env={**env, "PYTHONPATH": str(tmp_path)}, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


APP = """\
import os
from pathlib import Path

import numpy as np
from fedk_client import ClientApp, Update

(Path(__file__).parent / f"seen-{os.getpid()}").write_text(os.environ.get("PYDANTIC_DISABLE_PLUGINS", "enabled"))
app = ClientApp(model=lambda: {"w": np.zeros(4)})


@app.train
def train(model, task):
    return Update(model, num_examples=1)
"""


@pytest.mark.parametrize("given", [None, "__all__"])
def test_clients_have_the_plugins_of_pydantic_that_who_runs_them_left_them(tmp_path: Path, given: str | None) -> None:
    (tmp_path / "client.py").write_text(APP)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYDANTIC_")}
    env |= {"PYDANTIC_DISABLE_PLUGINS": given} if given else {}
    words = [sys.executable, "-c", "from fedk.cli import main; main()", "run", "client.py:app", "--rounds", "1"]
    subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, check=True, timeout=60)
    assert {path.read_text() for path in tmp_path.glob("seen-*")} == {given or "enabled"}


def test_a_file_that_cannot_be_written_is_no_fault_of_fedk(fedk: Any) -> None:
    assert fedk("plugins", "freeze", "-o", "nowhere/lock").err == "fedk: nowhere/lock: No such file or directory\n"


def ran(script: str) -> subprocess.CompletedProcess[str]:
    """A shell's `fedk`."""
    return subprocess.run(
        ["bash", "-c", script.replace("fedk", str(Path(sys.executable).with_name("fedk")), 1)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_stdout_is_no_fault() -> None:
    ended = ran("fedk config example >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_below_stdout_is_named() -> None:
    ended = ran("fedk config example > /dev/full")
    assert (ended.returncode, ended.stderr) == (1, "fedk: stdout cannot be written: No space left on device\n")


def test_what_stdout_cannot_encode_is_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code = "import sys; from fedk.cli import _open_streams; _open_streams(); print('7fa3…')"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONIOENCODING": "ascii"}, check=True)
    assert capfdbinary.readouterr().out == b"7fa3\\u2026\n"
