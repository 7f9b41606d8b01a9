"""Where and with what was measured."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("fedk", "grpcio", "protobuf", "numpy", "sqlalchemy")


@dataclass(frozen=True)
class Machine:
    """This one, now."""

    processor: str
    cores: int
    memory: float  # GB
    system: str
    python: str
    libraries: dict[str, str]
    load: float  # processes that wanted to run in the last minute, before it began

    @property
    def line(self) -> str:
        """For people."""
        versions = ", ".join(f"{name} {number}" for name, number in self.libraries.items())
        return (
            f"{self.processor}, {self.cores} cores, {self.memory:.0f} GB; {self.system}; Python {self.python}; {versions}; "
            f"load {self.load:.1f} as it began"
        )

    def document(self) -> dict[str, Any]:
        return asdict(self)


def here() -> Machine:
    return Machine(
        processor=_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=os.cpu_count() or 0,
        memory=int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 1e6,
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
        load=os.getloadavg()[0],
    )


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
