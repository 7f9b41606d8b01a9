from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from fedk.testing.combiner import Combiner, trees


def leaves(tree: Combiner) -> Iterator[int]:
    for part in tree.parts:
        yield from leaves(part) if isinstance(part, Combiner) else [part]


@given(st.integers(1, 9).flatmap(lambda count: st.tuples(st.just(count), trees(count))))
def test_a_tree_has_every_answer_once(drawn: tuple[int, Combiner]) -> None:
    count, tree = drawn
    assert sorted(leaves(tree)) == list(range(count))


@given(st.data())
def test_no_combiner_is_empty(data: st.DataObject) -> None:
    def parts(tree: Combiner) -> Iterator[int]:
        yield len(tree.parts)
        for part in tree.parts:
            if isinstance(part, Combiner):
                yield from parts(part)

    assert min(parts(data.draw(trees(7)))) >= 1
