"""Files and programs that the pages show work as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Fedk
from tests.docs.pages import Block, blocks

from fedk.cli.session_file import parsed
from fedk.settings import file as toml_file
from fedk.settings import load
from fedk.testing import aggregate

pytestmark = pytest.mark.aside

APPS = [block for block in blocks("python") if "ClientApp(" in block.text]
PROGRAMS = [block for block in blocks("python") if "ClientApp(" not in block.text]


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.id)
def test_toml_is_a_configuration_or_a_session_without_mistakes(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(block.text)
    if block.text.startswith("# fedk.toml"):
        load(file).checked()
    else:
        document = {key: value for key, value in toml_file.read(file).data.items() if key not in ("name", "model")}
        parsed(document, (), file=file)


@pytest.mark.parametrize("block", APPS, ids=lambda block: block.id)
def test_client_passes_the_dry_run(block: Block, fedk: Fedk, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(block.text)
    done = fedk("fedk-client", "check", "client.py:app", "--part", "0/5")
    assert "same seed, same bytes: ok" in done.out


def test_clients_are_typed_for_their_users_too(tmp_path: Path) -> None:
    for number, block in enumerate(APPS):
        (tmp_path / f"client_{number}.py").write_text(block.text)
    words = (
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        tmp_path,
        "--disable-error-code",
        "import-untyped",
        tmp_path,
    )
    done = subprocess.run([sys.executable, "-m", "mypy", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", [one for one in APPS if one.page == "README.md"], ids=lambda block: block.id)
def test_the_readmes_client_is_of_20_lines_and_learns(block: Block, fedk: Fedk, tmp_path: Path) -> None:
    assert len([line for line in block.text.splitlines() if line.strip()]) == 20
    (tmp_path / "client.py").write_text(block.text)
    words = ("--clients", "3", "--rounds", "10", "--set", "steps=5", "--data-dir", "D", "--json")
    found = fedk("run", "client.py:app", *words).json
    assert found["status"] == "finished"
    assert found["metrics"]["validate.error"] < 0.01


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.id)
def test_program_compiles(block: Block) -> None:
    compile(block.text, block.id, "exec")


def test_the_plugin_pages_formula_makes_the_step_that_a_hand_makes() -> None:
    names: dict[str, type] = {}
    block = next(one for one in PROGRAMS if "class FedYogi" in one.text)
    exec(block.text, names)  # noqa: S102  # the page's own program
    model, _ = aggregate(names["FedYogi"], {"w": [0.0]}, [{"w": [1.0]}], config={"learning_rate": 1})
    assert abs(model["w"][0] - 0.1 / (0.010001**0.5 + 1e-3)) < 1e-12
