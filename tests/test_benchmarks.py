"""The benchmark runs and says what it found. Its figures are not judged here: a test that is timed fails on a busy day."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import ROOT, Background, environment, unavailable

pytestmark = pytest.mark.aside

RUN = [sys.executable, "-m", "benchmarks.run", "--quick"]


def test_each_row_is_printed_with_its_ratio_and_its_verdict_and_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    command = [*RUN, "--only", "fold", "--only", "idle", "--to", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    sections = json.loads(file.read_text())["sections"]
    assert {name: len(section["rows"]) for name, section in sections.items()} == {"fold": 1, "idle": 1}, done.stderr
    rows = [row for section in sections.values() for row in section["rows"]]
    assert all(row["reason"] == "" and row["value"] > 0 and row["ratio"] > 0 for row in rows)
    assert [row["verdict"] for row in rows] == [line.split()[-1] for line in done.stdout.splitlines()]
    assert done.returncode == any(row["verdict"] == "miss" for row in rows)


def test_combiners_are_measured_beside_the_root_alone(tmp_path: Path) -> None:
    """Twenty clients, one combiner: a tenth of the bytes reach the root."""
    if shutil.which("ss") is None:
        unavailable("namespaces", "needs the command ss of iproute2, which is not installed")
    command = [*RUN, "--only", "tier", "--to", str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    rows = json.loads((tmp_path / "found.json").read_text())["sections"]["tier"]["rows"]
    assert len(rows) == 10, done.stderr
    whole, models, words = rows[4:7]
    assert 0.01 < whole["ratio"] < 0.2
    assert 10 < models["value"] <= 20
    assert 0 < words["value"] < 1_000  # of which the combiner's own are more than its few clients'


def test_a_row_that_cannot_be_measured_is_a_miss_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    few = ["bash", "-c", 'ulimit -n 400; exec "$@"', "bash", *RUN, "--only", "idle", "--to", str(file)]
    done = subprocess.run(few, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    (row,) = json.loads(file.read_text())["sections"]["idle"]["rows"]
    assert (row["verdict"], row["reason"]) == ("miss", "needs 550 open files, ulimit -Hn gives 400")
    assert done.returncode == 1


def test_sigterm_ends_what_it_started(start: Callable[..., Background], tmp_path: Path) -> None:
    words = (*RUN, "--only", "curves", "--to", tmp_path / "found.json")
    running = start(*words, env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)})
    running.line()
    assert running.end(signal.SIGTERM) == 130
    left = [file for file in Path("/proc").glob("[0-9]*/cwd") if _under(file, tmp_path / "fedk-bench-")]
    assert left == []


def _under(cwd: Path, start: Path) -> bool:
    try:
        return str(cwd.readlink()).startswith(str(start))
    except OSError:  # it has ended meanwhile, or is another's
        return False


def test_a_target_is_of_the_value_or_of_the_ratio_to_what_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.row import Row, read  # noqa: PLC0415  # the repository itself is no package's

    assert Row("a", 20.0, "ms", target=20).verdict == "met"
    assert Row("a", 20.1, "ms", target=20).verdict == "miss"
    wire = Row("b", 31.0, "ms", "echo", 10.0, target=3, relative=True)
    assert (wire.ratio, wire.verdict) == (3.1, "miss")
    fast = Row("c", 80.0, "MB/s", "raw", 100.0, target=0.75, more=True, relative=True)
    assert fast.verdict == "met"
    assert read(json.loads(json.dumps(fast.document()))) == fast
    assert Row("d", 1.0, "ms").verdict == ""
    assert fast.line().split() == ["c", "80", "MB/s", "raw", "100", "MB/s", "0.80", "×", "≥", "0.75", "×", "met"]
