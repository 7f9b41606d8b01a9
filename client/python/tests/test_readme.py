import re
from pathlib import Path

import pytest

from fedk_client import Client
from fedk_client.dryrun import DryRun
from fedk_client.loading import load

README = Path(__file__).parents[1] / "README.md"
SOURCE = Path(__file__).parents[1] / "src" / "fedk_client"


def test_the_readmes_client_passes_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "readme_client.py").write_text(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    run = DryRun(load(f"{tmp_path}/readme_client.py:app"), Client("check", 0, 5), '{"epochs": 2}')
    assert any("validate.accuracy" in line for line in run.lines())
    assert run.faults == []


def test_the_readme_names_files_that_there_are() -> None:
    named = set(re.findall(r"`(\w+\.py)`", README.read_text()))
    assert named <= {path.name for path in SOURCE.glob("*.py")}
