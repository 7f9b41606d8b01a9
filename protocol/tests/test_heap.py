"""What a process that lives for messages keeps of its heap, asked of the system."""

import platform
import resource
import subprocess
import sys

import pytest

WORK = """
import ctypes, resource
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, whatever the system prefers
from fedk_protocol import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def come_and_go():
    messages = [b"x" * 2**19 for _ in range(12)]

if {kept}:
    heap.keep()
come_and_go()
before = faults()
for _ in range(10):
    come_and_go()
print(faults() - before)
"""
PAGES = 10 * 12 * 2**19 // resource.getpagesize()


def again(*, kept: bool) -> int:
    """Pages that the system has to find for ten times the same messages."""
    said = subprocess.run([sys.executable, "-c", WORK.format(kept=kept)], capture_output=True, text=True, check=True)
    return int(said.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator, which is left alone")
def test_messages_of_a_process_that_keeps_its_heap_stand_in_the_same_pages_again() -> None:
    assert again(kept=False) > PAGES // 2
    assert again(kept=True) < PAGES // 100
