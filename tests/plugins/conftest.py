"""Plugins that are not of this repository, written into a folder as an installer writes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOOK = "from fedk.api.hooks import hookimpl\nclass Plugin:\n"
BALANCER = (
    "from fedk.api.balancer import Balancer\nfrom fedk.api.config import Config\nclass Plugin(Balancer[Config]):\n"
)


@dataclass(slots=True)
class Site:
    """A folder on the path of every process that gets `env`."""

    folder: Path
    group: str = "fedk.hooks"
    names: list[str] = field(default_factory=list)

    def put(
        self,
        name: str,
        source: str | None,
        *,
        entry: str | None = None,
        requires: Sequence[str] = (),
        distribution: str | None = None,
        summary: str = "For tests",
    ) -> None:
        """One distribution with one plugin; without a source its module is not there."""
        distribution = distribution or f"acme-{name}"
        module = distribution.replace("-", "_")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        head = ["Metadata-Version: 2.4", f"Name: {distribution}", "Version: 1.0", f"Summary: {summary}"]
        (info / "METADATA").write_text("\n".join([*head, *(f"Requires-Dist: {r}" for r in requires), ""]), "utf-8")
        points = f"[{self.group}]\n{entry or f'{name} = {module}:Plugin'}\n"
        (info / "entry_points.txt").write_text(points, "utf-8")
        if source is not None:
            (self.folder / f"{module}.py").write_text(source, "utf-8")
        if name not in self.names:
            self.names.append(name)

    def twice(self, name: str, source: str) -> None:
        """Two distributions with one plugin each, of one name."""
        for owner in ("acme", "zeta"):
            self.put(name, source, distribution=f"{owner}-{name}")

    @property
    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}

    def enabled(self, *more: str) -> dict[str, str]:
        """With all of its plugins enabled, as hooks."""
        return {**self.env, "FEDK_PLUGINS__HOOKS": json.dumps([*self.names, *more])}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")
