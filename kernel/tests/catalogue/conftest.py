import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BALANCER = """
from fedk.api.balancer import Balancer
from fedk.api.config import Config
from pydantic import Field, SecretStr

class Settings(Config):
    weight: float = Field(1.0, gt=0, le=9, description="how much a client weighs")
    password: SecretStr = Field(SecretStr(""), description="of the registry")
    url: str = Field("", description="of the registry")

class Fair(Balancer[Settings]):
    def assign(self, client, servers):
        return None
"""


class Site:
    """A folder on `sys.path` into which distributions are written as an installer writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(
        self,
        distribution: str,
        entry_points: str,
        *,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        module: str | None = None,
        source: str = BALANCER,
        metadata: str | None = None,
    ) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        head = ["Metadata-Version: 2.4", f"Name: {distribution}", f"Version: {version}", "Summary: For tests"]
        lines = [*head, "License-Expression: MIT", *(f"Requires-Dist: {one}" for one in requires)]
        (info / "METADATA").write_text("\n".join(lines) if metadata is None else metadata, "utf-8")
        (info / "entry_points.txt").write_text(entry_points, "utf-8")
        if module is not None:
            (self.folder / f"{module}.py").write_text(source, "utf-8")
            self.modules.append(module)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Site(tmp_path)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)
