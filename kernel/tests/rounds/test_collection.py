"""Words to the collection: each is about a commit, and none is lost, whenever it comes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fedk.api.errors import FedkError
from fedk.blobs.hold import Key
from fedk.rounds.collection import Collection
from fedk.testing.site import Site, site


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as found:
        yield found


class Interrupted(Collection):
    """Hears a word in the middle of its first look, or of its first deletion; its first look may fail."""

    def __init__(self, here: Site, *, word: str = "", word_in_sweep: str = "", fails: bool = False) -> None:
        super().__init__(here.store, here.blobs)
        self.looked: list[str] = []
        self._word, self._word_in_sweep, self._fails = word, word_in_sweep, fails

    async def mark(self, session: str) -> bool:
        self.looked.append(session)
        more = await super().mark(session)
        word, self._word = self._word, ""
        self.look(*filter(None, [word]))
        fails, self._fails = self._fails, False
        if fails:
            raise FedkError("the database is gone")
        self._marked["default", b"nothing"] = None
        return more

    async def collect(self, key: Key) -> None:
        word, self._word_in_sweep = self._word_in_sweep, ""
        self.look(*filter(None, [word]))
        await super().collect(key)


async def test_a_session_that_is_named_while_it_is_looked_at_is_looked_at_again(here: Site) -> None:
    collection = Interrupted(here, word="one")
    collection.look("one", "two")
    await collection.idle()
    assert collection.looked == ["one", "two", "one"]


async def test_a_session_that_is_named_while_the_last_bytes_are_deleted_is_looked_at(here: Site) -> None:
    collection = Interrupted(here, word_in_sweep="two")
    collection.look("one")
    await collection.idle()
    assert collection.looked == ["one", "two"]


async def test_a_look_that_failed_is_made_again_with_the_next_word(here: Site) -> None:
    collection = Interrupted(here, fails=True)
    collection.look("one")
    await collection.idle()
    collection.look("two")
    await collection.idle()
    assert collection.looked == ["one", "one", "two"]
