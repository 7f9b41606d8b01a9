import asyncio

from fedk_client.eager import Eager


async def test_the_first_step_is_done_when_it_is_made() -> None:
    done = []

    async def work() -> None:
        done.append("begun")

    Eager(work())
    assert done == ["begun"]


async def test_it_goes_on_when_what_it_waits_for_is_there() -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    over = asyncio.Event()
    seen: list[int] = []

    async def work() -> None:
        seen.append(await first)
        seen.append(await second)
        over.set()

    Eager(work())
    first.set_result(1)
    second.set_result(2)
    await over.wait()
    assert seen == [1, 2]


async def test_an_exception_of_what_it_waits_for_is_raised_in_it() -> None:
    awaited, caught = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def work() -> None:
        try:
            await awaited
        except ZeroDivisionError:
            caught.set()

    Eager(work())
    awaited.set_exception(ZeroDivisionError())
    await caught.wait()


async def test_cancelled_while_it_waits_it_ends() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    eager = Eager(work())
    eager.cancel()
    await ended.wait()
    eager.cancel()  # again is no mistake
