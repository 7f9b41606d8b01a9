"""Updates in a codec that come to combiners: unpacked there, and summed as what is native is."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.faults.conftest import SEEDED
from tests.faults.proxy import Proxy
from tests.tier.conftest import Tree

NAMES = ("a", "b", "c", "d")


def run(site: Tree, weights: int, codec: str = "") -> list[str]:
    rules = (
        f'model = "{SEEDED}"\nrounds = 3\n[clients]\nmin = {len(NAMES)}\n[round]\nquorum = 1.0\nreplace = false\n'
        f'deadline = "1h"\n[codec]\nuse = "{codec}"\n'
    )
    site.join(*NAMES, CHAOS_WEIGHTS=str(weights))
    site.session("s", rules, CHAOS_WEIGHTS=str(weights))
    site.server.until("session.finished")
    return site.digests("s")


@pytest.mark.parametrize(("codec", "weights"), [("float16", 100_000), ("zstd", 1_000)])
def test_updates_in_a_codec_make_the_models_of_one_server(tree: Callable[..., Tree], codec: str, weights: int) -> None:
    """100,000 weights are uploaded, 1,000 come inline."""
    flat = run(tree(role="standalone"), weights, codec)
    behind = tree("east", "west")
    assert run(behind, weights, codec) == flat
    assert behind.rows("SELECT count(*) FROM partials") == [(6,)]  # two combiners, three rounds


def test_half_the_bytes_go_from_clients_to_their_combiner(tree: Callable[..., Tree]) -> None:
    """Of four clients, three rounds and 400 kB."""
    sent = {}
    for codec in ("", "float16"):
        with ExitStack() as ending:
            line = ending.enter_context(Proxy())
            site = tree()
            site.grow("east", FEDK_SERVER__ADVERTISE=f'["{line.listen}"]')
            line.lead(site.combiners["east"].listen)
            run(site, 100_000, codec)
            sent[codec] = sum(line.sent)
            site.combiners["east"].kill()
    assert 0.50 < sent["float16"] / sent[""] < 0.52


def test_a_combiner_without_the_codec_has_its_clients_answer_natively(tree: Callable[..., Tree]) -> None:
    site = tree()
    site.grow("east", FEDK_PLUGINS__DISABLED='["float16"]')
    run(site, 1_000, "float16")
    site.combiners["east"].until("updates come natively here")
    assert site.rows("SELECT count(*) FROM contributions WHERE num_examples > 0") == [(12,)]
