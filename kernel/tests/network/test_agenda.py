"""Which tasks wait for a client, and which it has."""

from kernel.tests.network.offering import model, offer

from fedk.network.agenda import Agenda


def test_a_client_has_one_task_at_a_time() -> None:
    agenda = Agenda(1)
    agenda.offer(offer("t1"))
    agenda.offer(offer("t2"))
    first = agenda.next()
    assert first is not None
    assert (first.task, agenda.next(), agenda.active) == ("t1", None, ("t1",))
    agenda.done("t1")
    second = agenda.next()
    assert second is not None
    assert second.task == "t2"


def test_or_as_many_as_it_says() -> None:
    agenda = Agenda(2)
    for task in ("t1", "t2", "t3"):
        agenda.offer(offer(task))
    assert [found.task for found in iter(agenda.next, None)] == ["t1", "t2"]


def test_a_task_that_the_client_has_is_not_queued_again() -> None:
    agenda = Agenda(2)
    assert agenda.offer(offer("t1"))
    agenda.next()
    assert not agenda.offer(offer("t1"))
    assert agenda.next() is None


def test_tasks_that_a_client_brings_with_it_keep_it_busy() -> None:
    agenda = Agenda(1, held=["t1"])
    assert not agenda.offer(offer("t1"))
    agenda.offer(offer("t2"))
    assert agenda.next() is None
    agenda.done("t1")
    assert agenda.next() is not None


def test_a_queued_task_is_withdrawn_in_silence_and_one_that_was_sent_is_not() -> None:
    agenda = Agenda(1)
    agenda.offer(offer("t1"))
    agenda.offer(offer("t2"))
    agenda.next()
    assert (agenda.withdraw("t2"), agenda.withdraw("t1"), agenda.withdraw("t3")) == (False, True, False)
    assert agenda.active == ("t1",)  # until the client says that it has stopped
    agenda.done("t1")
    assert agenda.next() is None


def test_it_knows_which_task_brings_a_blob() -> None:
    agenda = Agenda(1, held=["t0"])
    agenda.done("t0")
    agenda.offer(offer("t1", inputs={"model": model(b"weights")}))
    assert agenda.bringing(b"m" * 32) is None
    agenda.next()
    found = agenda.bringing(b"m" * 32)
    assert found is not None
    assert (found.task, agenda.bringing(b"n" * 32)) == ("t1", None)
