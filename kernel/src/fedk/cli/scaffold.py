"""A whole distribution for a new plugin, which passes its own tests at once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from packaging.version import Version

from fedk.api.errors import Conflict
from fedk.catalogue import KINDS

LICENSES = ("Apache-2.0", "MIT", "BSD-3-Clause", "LicenseRef-Proprietary")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

SUMMARIES: Mapping[str, str] = {
    "aggregator": "Moves the model towards the mean of the clients' models",
    "balancer": "Places a client on the server that answers it fastest",
    "storage": "Model bytes in a service that fsspec speaks to",
    "db": "Rows in a database that SQLAlchemy speaks to",
    "codec": "Updates on their way to the server, compressed",
    "hook": "Tells of rounds that take too long",
}
_FSSPEC = """
[[tool.mypy.overrides]]
module = ["fsspec.*"] # published without types
ignore_missing_imports = true
"""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What is to be written."""

    kind: str
    name: str  # my-yogi
    author: str = ""
    license: str = LICENSES[0]

    @property
    def distribution(self) -> str:
        return f"fedk-plugin-{self.name}"

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    def write(self, folder: Path) -> Path:
        """Into a new folder below `folder`; returns it. Conflict where there is one already."""
        root = folder / self.distribution
        try:
            root.mkdir(parents=True)
        except FileExistsError as error:
            raise Conflict(f"{root} is there already: choose another name, or another --dir") from error
        for path, text in self._files():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        return root

    def _files(self) -> Iterator[tuple[str, str]]:
        templates = files("fedk.cli") / "templates"
        common, own = templates / "common", templates / self.kind
        yield "pyproject.toml", self._filled(common / "pyproject.toml.tmpl")
        yield "README.md", self._filled(own / "README.md.tmpl")
        yield "LICENSE", self._filled(templates / "license" / f"{self.license}.tmpl")
        yield ".gitignore", self._filled(common / "gitignore.tmpl")
        yield ".github/workflows/publish.yml", self._filled(common / "publish.yml.tmpl")
        yield f"src/{self.module}/__init__.py", self._filled(own / "plugin.py.tmpl")
        yield f"src/{self.module}/py.typed", ""
        yield f"tests/test_{self.name.replace('-', '_')}.py", self._filled(own / "test.py.tmpl")

    def _filled(self, template: Traversable) -> str:
        return Template(template.read_text("utf-8")).substitute(self._words())

    def _words(self) -> dict[str, str]:
        this = Version(version("fedk"))
        range_ = f">={this.major}.{this.minor},<{this.major}.{this.minor + 1}"
        needed = [f'"{"fedk-protocol" if self.kind == "codec" else "fedk"}{range_}"']
        return {
            "author": self.author or f"the authors of {self.distribution}",
            "class_": "".join(part.capitalize() for part in self.name.split("-")),
            "dependencies": ", ".join([*needed, *(['"aiosqlite>=0.21"'] if self.kind == "db" else [])]),
            "distribution": self.distribution,
            "group": KINDS[self.kind].group,
            "license": self.license,
            "module": self.module,
            "mypy": _FSSPEC if self.kind == "storage" else "",
            "name": self.name,
            "range": range_,
            "summary": SUMMARIES[self.kind],
            "year": str(datetime.now(UTC).year),
        }
