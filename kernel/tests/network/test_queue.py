"""The order in which one client's tasks leave."""

from kernel.tests.network.offering import offer

from fedk.network.queue import FairQueue


def leaving(queue: FairQueue) -> list[str]:
    return [found.task for found in iter(queue.pop, None)]


def test_tasks_of_one_session_keep_their_order() -> None:
    queue = FairQueue()
    for task in ("t1", "t2", "t3"):
        queue.put(offer(task))
    assert leaving(queue) == ["t1", "t2", "t3"]


def test_a_session_with_one_task_does_not_wait_behind_one_with_three() -> None:
    queue = FairQueue()
    for task in ("a1", "a2", "a3"):
        queue.put(offer(task, "a"))
    queue.put(offer("b1", "b"))
    assert leaving(queue) == ["a1", "b1", "a2", "a3"]


def test_projects_take_turns_before_their_sessions_do() -> None:
    queue = FairQueue()
    for session in ("a", "b"):
        for n in (1, 2):
            queue.put(offer(f"x-{session}{n}", session, "x"))
    queue.put(offer("y-c1", "c", "y"))
    queue.put(offer("y-c2", "c", "y"))
    assert leaving(queue) == ["x-a1", "y-c1", "x-b1", "y-c2", "x-a2", "x-b2"]


def test_turns_go_on_where_they_were_when_tasks_come_meanwhile() -> None:
    queue = FairQueue()
    for task, session in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        queue.put(offer(task, session))
    first = queue.pop()
    assert first is not None
    assert first.task == "a1"
    queue.put(offer("c1", "c"))
    assert leaving(queue) == ["b1", "a2", "c1"]


def test_a_task_is_queued_once_and_can_be_taken_out() -> None:
    queue = FairQueue()
    for task in ("t1", "t2", "t1"):
        queue.put(offer(task))
    assert (len(queue), "t1" in queue, queue.remove("t1"), queue.remove("t1"), len(queue)) == (2, True, True, False, 1)
    assert leaving(queue) == ["t2"]
    assert queue.pop() is None
