import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedk.cli import main
from fedk.testing import site as testing
from fedk.testing.site import Served


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line left."""

    code: object
    out: str
    err: str


@pytest.fixture
def fedk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `fedk …` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        out, err = capsys.readouterr()
        return Outcome(exit_.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with tables and nothing in them."""
    directory = tmp_path_factory.mktemp("prepared") / "data"
    testing.prepare(directory)
    return directory


@pytest.fixture
def served(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server, which `fedk …` asks; its directory is ./fedk-data."""
    shutil.copytree(prepared, tmp_path / "fedk-data")
    with testing.served(tmp_path / "fedk-data") as here:
        monkeypatch.setenv("FEDK_URL", here.url)
        yield here
