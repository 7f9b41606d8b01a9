import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedk.api.errors import StateError
from fedk.state.errors import Locked
from fedk.state.lock import DirectoryLock


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_one_server_for_a_directory(data_dir: Path) -> None:
    first = DirectoryLock.take(data_dir)
    with pytest.raises(
        Locked, match=rf"{re.escape(str(data_dir))} is in use \(process {os.getpid()}\): stop that server, or name"
    ):
        DirectoryLock.take(data_dir)
    first.release()
    DirectoryLock.take(data_dir).release()


def test_a_reader_is_told_whom_to_ask(data_dir: Path) -> None:
    lock = DirectoryLock.take(data_dir)
    with pytest.raises(Locked, match="until it has started"):
        DirectoryLock.check(data_dir)
    lock.announce("http://127.0.0.1:6080")
    with pytest.raises(Locked, match=r"ask it: --url http://127.0.0.1:6080") as caught:
        DirectoryLock.check(data_dir)
    assert caught.value.admin == "http://127.0.0.1:6080"
    lock.release()
    DirectoryLock.check(data_dir)


def test_readers_of_a_directory_without_a_server_leave_it_alone(tmp_path: Path) -> None:
    DirectoryLock.check(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_still_writing_its_name_is_another_process(data_dir: Path) -> None:
    lock = DirectoryLock.take(data_dir)
    (data_dir / "lock").write_text('{"pid": 1')
    with pytest.raises(Locked, match="another process"):
        DirectoryLock.check(data_dir)
    lock.release()


def test_a_killed_server_leaves_the_directory_free(data_dir: Path) -> None:
    script = "import sys; from pathlib import Path; from fedk.state.lock import DirectoryLock as D\n"
    script += "lock = D.take(Path(sys.argv[1])); print('taken', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with pytest.raises(Locked, match=f"process {server.pid}"):
            DirectoryLock.take(data_dir)
        server.send_signal(signal.SIGKILL)
    DirectoryLock.take(data_dir).release()


def test_a_directory_that_cannot_be_written_names_path_reason_and_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StateError, match=r"data_dir .*/file/data cannot be used: Not a directory.*FEDK_SERVER__DATA_DIR"
    ):
        DirectoryLock.take(tmp_path / "file" / "data")
