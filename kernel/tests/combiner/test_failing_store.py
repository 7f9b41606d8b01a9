"""A combiner whose database fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kernel.tests.combiner.conftest import SESSION, Begin, Middle, total

from fedk.api.errors import StateError
from fedk.state.store import Store


class Failing:
    """Transactions that fail, so many times."""

    def __init__(self, store: Store, times: int) -> None:
        self._store, self.left, self.tried = store, times, 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        self.tried += 1
        if self.left:
            self.left -= 1
            raise StateError("the disk is full")
        async with self._store.transaction() as tx:
            yield tx


async def test_a_combiner_whose_database_fails_comes_to_its_end(middle: Middle) -> None:
    await middle.hold(f"{SESSION}-1")
    failing: Any = Failing(middle.store, 50)
    middle.holdings._store = failing
    middle.holdings.drop(f"{SESSION}-1")
    await middle.holdings.close()
    assert failing.tried <= 2


async def test_a_sum_that_cannot_be_written_down_leaves_no_file(middle: Middle) -> None:
    await middle.hold(f"{SESSION}-1", f"{SESSION}-2")
    failing: Any = Failing(middle.store, 1)
    middle.partials._store = failing
    middle.flush(f"{SESSION}-1", f"{SESSION}-2")
    assert await middle.above.partial() == total(f"{SESSION}-1", f"{SESSION}-2")
    assert len(list((middle.folder / "partials").iterdir())) == 1, "of which it was written down again"


async def test_a_sum_of_what_is_settled_is_gone_after_a_restart(begin: Begin) -> None:
    """The verdict on its updates was written down, and the end of the sum was not: kill -9 between the two."""
    middle = await begin()
    await middle.hold(f"{SESSION}-1", f"{SESSION}-2")
    middle.flush(f"{SESSION}-1", f"{SESSION}-2")
    await middle.above.partial()
    for task in (f"{SESSION}-1", f"{SESSION}-2"):
        middle.holdings.drop(task)
    await middle.end()
    again = await begin()
    assert not again.holdings.all()
    assert not again.partials._partials
    assert not list((again.folder / "partials").iterdir())
