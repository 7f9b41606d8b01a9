"""One plugin imported in a process of its own: whatever its import does, whoever asks goes on.

`python -m fedk.catalogue.probe NUMBER` imports the entry that it is told on stdin, and answers on descriptor NUMBER.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from fedk.catalogue.catalogue import Catalogue
from fedk.catalogue.plugin import PluginInfo
from fedk.catalogue.scan import Entry, Owner
from fedk.catalogue.selection import Policy
from fedk.catalogue.slow import PATIENCE, way_out


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[str]
    answers: int  # descriptor


def probe(entry: Entry, found: PluginInfo, path: Mapping[str, str] | None = None) -> PluginInfo:
    """`found`, with what the import of `entry` makes of it. `path`: more environment, as PYTHONPATH."""
    child = _started(entry, path or {})
    with os.fdopen(child.answers, encoding="utf-8") as answers:
        answers.readline()  # the import begins now: what the process took to start is not the plugin's
        try:
            _, said = child.process.communicate(timeout=PATIENCE)  # an import that hangs has no other end
        except subprocess.TimeoutExpired:
            os.killpg(child.process.pid, signal.SIGKILL)  # with whatever it started
            child.process.communicate()
            text = f"timeout: its import has not ended after {PATIENCE:g} s"
            return replace(found, state="failed", error=text, hint=way_out(entry))
        text = answers.read()
    return _read(text, found) or _died(found, child.process.returncode, said)


def _started(entry: Entry, path: Mapping[str, str]) -> _Child:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "fedk.catalogue.probe", str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[writing],
        start_new_session=True,
        env={**os.environ, **path},
    )
    os.close(writing)
    assert process.stdin is not None  # noqa: S101  # it is a pipe
    with suppress(BrokenPipeError):  # it died at once: its exit code says so
        process.stdin.write(json.dumps(_as_json(entry)) + "\n")
        process.stdin.flush()
    return _Child(process, reading)


def _as_json(entry: Entry) -> dict[str, Any]:
    owner = {key: getattr(entry.owner, key) for key in ("distribution", "version", "summary", "license", "requires")}
    return {"kind": entry.kind, "group": entry.group, "name": entry.name, "target": entry.target, "owner": owner}


def _read(text: str, found: PluginInfo) -> PluginInfo | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    wanted = ("state", "import_ms", "hooks", "config_schema", "error", "hint", "traceback")
    known = {key: document[key] for key in wanted}
    return replace(found, **{**known, "hooks": tuple(known["hooks"])})


def _died(found: PluginInfo, code: int, said: str) -> PluginInfo:
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
    hint = f"Ask the authors of {found.distribution}, or choose another."
    return replace(
        found, state="failed", error=f"its import ended the process: {how}", hint=hint, traceback=said[-4000:]
    )


def main() -> None:
    """The child: import, answer."""
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
        document = json.loads(sys.stdin.readline())
        entry = Entry(**{**document, "owner": Owner(**document["owner"])})
        answers.write("import\n")
        answers.flush()
        info = Catalogue([entry], Policy()).show(entry.full_name, entry.kind, load=True)
        answers.write(json.dumps(asdict(info)))


if __name__ == "__main__":
    main()
