"""The lock: what is installed must be what was frozen, before anything is imported."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import ConfigError
from fedk.catalogue import Catalogue
from fedk.catalogue.lock import written


@pytest.fixture
def lock(site: Any) -> Path:
    """Of two plugins."""
    for name in ("fair", "idle"):
        site.install(f"acme-{name}", f"[fedk.balancers]\n{name} = acme_{name}:Fair", module=f"acme_{name}")
    path = Path(site.folder / "fedk.lock")
    path.write_text(written(scanned(site).freeze(), path.name), "utf-8")
    return path


def scanned(site: Any) -> Catalogue:
    return Catalogue.scan(path=[str(site.folder)])


def add(site: Any) -> None:
    site.install("acme-new", "[fedk.hooks]\nnew = acme_new")


def remove(site: Any) -> None:
    shutil.rmtree(site.folder / "acme_idle-1.0.dist-info")


def upgrade(site: Any) -> None:
    remove(site)
    site.install("acme-idle", "[fedk.balancers]\nidle = acme_idle:Fair", version="1.1")


def change(site: Any) -> None:
    (site.folder / "acme_idle.py").write_text("import os\n", "utf-8")


def test_what_was_frozen_passes(site: Any, lock: Path) -> None:
    scanned(site).enforce(str(lock))
    assert not {"acme_fair", "acme_idle"} & sys.modules.keys()


def test_without_a_lock_anything_passes(site: Any) -> None:
    scanned(site).enforce("")


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (add, "acme-new 1.0 is installed and not locked:  pip uninstall acme-new"),
        (remove, "acme-idle 1.0 is locked and not installed:  pip install acme-idle==1.0"),
        (upgrade, "acme-idle is 1.1, locked 1.0:  pip install acme-idle==1.0"),
        (change, "acme-idle 1.0 has other files than were locked: "),
    ],
)
def test_every_difference_stops_the_start(site: Any, lock: Path, act: Callable[[Any], None], line: str) -> None:
    act(site)
    with pytest.raises(ConfigError) as error:
        scanned(site).enforce(str(lock))
    title, difference, advice = str(error.value).splitlines()
    assert title == f"{lock} (plugins.lock): 1 of the installed plugins differ"
    assert difference.strip().startswith(line)
    assert f"fedk plugins freeze -o {lock}" in advice
    assert error.value.exit_code == 78


def test_bytecode_and_what_installers_note_do_not_count(site: Any, lock: Path) -> None:
    cache = site.folder / "__pycache__"
    cache.mkdir()
    (cache / "acme_idle.cpython-311.pyc").write_bytes(b"x")
    (site.folder / "acme_idle-1.0.dist-info" / "INSTALLER").write_text("uv")
    scanned(site).enforce(str(lock))


def test_a_package_counts_with_all_its_files(site: Any) -> None:
    package = site.folder / "acme_deep"
    package.mkdir()
    (package / "__init__.py").write_text("")
    site.install("acme-deep", "[fedk.balancers]\ndeep = acme_deep:Fair")
    (before,) = scanned(site).freeze()
    (package / "weights.json").write_text("{}")
    (after,) = scanned(site).freeze()
    assert before.sha256 != after.sha256


def test_a_lock_that_is_missing_or_none_is_said(site: Any, lock: Path) -> None:
    with pytest.raises(ConfigError, match=r"no lock file .*nowhere.lock \(plugins.lock\). fedk plugins freeze -o"):
        scanned(site).enforce(str(lock.with_name("nowhere.lock")))
    for text in ("[[plugin]\n", '[[plugin]]\nname = "x"\n', "plugin = 3\n"):
        lock.write_text(text)
        with pytest.raises(ConfigError, match="is no lock file: "):
            scanned(site).enforce(str(lock))
