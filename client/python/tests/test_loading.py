import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedk_client import ClientApp
from fedk_client.errors import LoadError
from fedk_client.loading import load

APP = "from fedk_client import ClientApp\napp = ClientApp(model=dict)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = dict(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


def refused(spec: str) -> LoadError:
    with pytest.raises(LoadError) as info:
        load(spec)
    return info.value


def test_an_app_is_loaded_with_the_files_beside_it(folder: Path) -> None:
    (folder / "beside.py").write_text("from fedk_client import ClientApp\nmade = ClientApp(model=dict)\n")
    (folder / "mine.py").write_text("from beside import made\nimport mine\nassert mine.made is made\n")
    assert isinstance(load(f"{folder}/mine.py:made"), ClientApp)


def test_a_file_named_like_a_module_that_is_in_use_does_not_replace_it(folder: Path) -> None:
    (folder / "json.py").write_text(APP)
    before = sys.modules["json"]
    assert isinstance(load("json.py:app"), ClientApp)
    assert sys.modules["json"] is before


def test_a_misspelt_file_is_met_with_the_nearest(folder: Path) -> None:
    (folder / "client.py").write_text(APP)
    error = refused("clinet.py:app")
    assert str(error) == f"no file clinet.py (in {folder}). Did you mean client.py?"
    assert error.exit_code == 2
    assert str(refused("wholly-other:app")) == f"no file wholly-other (in {folder})."


@pytest.mark.parametrize("spec", ["client.py", "client.py:", ":client.py"])
def test_a_spec_without_its_halves_is_shown_how(spec: str) -> None:
    assert str(refused(spec)) == f'"{spec}" wants FILE:APP, for example client.py:app'


def test_a_folder_is_no_file(folder: Path) -> None:
    assert str(refused(f"{folder}:app")) == f"{folder} is a folder: name the file, for example {folder}/client.py:app"


def test_a_missing_package_is_named_with_its_line_and_the_python_that_lacks_it(folder: Path) -> None:
    (folder / "client.py").write_text("import fedk_client\nimport absent_package.part\n")
    error = refused("client.py:app")
    assert str(error) == (
        "client.py cannot be imported: ModuleNotFoundError: No module named 'absent_package' (line 2)\n"
        f"Clients run with {sys.executable};  pip install absent_package  there."
    )
    assert error.exit_code == 1


def test_an_exception_at_import_names_the_line_of_the_file(folder: Path) -> None:
    (folder / "client.py").write_text("import json\n\njson.loads('{')\n")
    assert str(refused("client.py:app")).endswith("(line 3)")
    (folder / "client.py").write_text("x = 1\ndef f(:\n")
    assert str(refused("client.py:app")) == "client.py cannot be imported: SyntaxError: invalid syntax (line 2)"
    (folder / "client.py").write_text("import sys\nsys.exit(3)\n")
    assert str(refused("client.py:app")) == "client.py cannot be imported: SystemExit: 3 (line 2)"


def test_a_file_without_that_app_names_the_apps_that_it_has(folder: Path) -> None:
    (folder / "client.py").write_text(f"{APP}other = app\n")
    assert str(refused("client.py:ap")) == "client.py has no ap. Did you mean client.py:app or client.py:other?"
    assert str(refused("client.py:ClientApp")).startswith("ClientApp in client.py is a type, not a ClientApp.")


def test_a_file_without_any_app_names_what_it_found(folder: Path) -> None:
    (folder / "client.py").write_text("import json\ndef train(): ...\nrate = 1\n_hidden = 2\n")
    assert str(refused("client.py:app")) == "client.py has no app. It has no ClientApp; it has train, rate."
