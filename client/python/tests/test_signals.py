"""A signal ends a client whatever its threads are doing when it comes."""

import queue
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from fedk_client.signals import Terminated, terminable


@pytest.fixture
def one_thread_at_a_time() -> Iterator[None]:
    """No thread gives way before it waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("one_thread_at_a_time")
def test_a_signal_that_another_thread_takes_wakes_the_main_one() -> None:
    """As one does that comes just before the main thread goes to sleep: nothing interrupts that sleep."""
    inbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    waiting = threading.Event()
    woken: list[str] = []

    def take() -> None:
        waiting.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    def wait() -> None:
        with terminable(lambda: inbox.put("look")):
            threading.Thread(target=take).start()
            waiting.set()
            try:
                inbox.get(timeout=30)
            except queue.Empty:
                woken.append("by the clock")

    with pytest.raises(Terminated):
        wait()
    assert not woken


def test_what_sigterm_did_before_it_does_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with terminable(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
