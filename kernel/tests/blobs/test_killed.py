"""A process that is killed while it writes over a settled result's file."""

import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from fedk.blobs import start
from fedk.blobs.reader import Reader
from fedk.blobs.spool import Spool
from fedk_protocol.rooms import LEAST as SIZE

ENDS = [0, 1000, SIZE // 2, SIZE]
NEW = b"\x55" * SIZE

PROCESS = f"""
import os, signal, sys
from pathlib import Path
from fedk.blobs.spool import Spool

def deadly(call):
    def step(*args, **more):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **more)
    return step

left = int(sys.argv[2])
spool = Spool(Path(sys.argv[1]), {16 * SIZE})
spool.recover([])
for name in ("pwrite", "fsync", "rename"):
    setattr(os, name, deadly(getattr(os, name)))
old = spool.upload("s1", "t1", "r1", {SIZE})
old.write(b"\\xaa" * {SIZE})
spool.forget(old.span)
spool.sweep()
new = spool.upload("s1", "t2", "r1", {SIZE})
for size in {[end - start for start, end in pairwise(ENDS)]}:
    new.write(b"\\x55" * size)
"""


@pytest.mark.skipif(not start.ID, reason="this system's starts have no id: no half upload outlives a process")
def test_at_whatever_step_it_is_killed_what_is_here_of_the_new_result_is_its_own(tmp_path: Path) -> None:
    found, ended = list[int](), -int(signal.SIGKILL)
    while ended == -int(signal.SIGKILL):
        root, step = tmp_path / str(len(found) + 1), str(len(found) + 1)
        ended = subprocess.run([sys.executable, "-c", PROCESS, str(root), step], check=False).returncode
        spool = Spool(root, 16 * SIZE)
        spool.recover([], open_tasks={"t2"})
        found.append(spool.got("s1", "t2", "r1", SIZE))
        upload = spool.upload("s1", "t2", "r1", SIZE)
        assert Path(upload.span.path).read_bytes()[: found[-1]] == NEW[: found[-1]]
        if upload.got < SIZE:
            upload.write(NEW[upload.got :])
        with Reader(upload.span) as reader:
            assert reader.read(0, SIZE) == NEW
        spool.close()
    assert (ended, sorted(set(found))) == (0, ENDS)
