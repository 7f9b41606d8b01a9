"""The equality profile: time cannot choose who is in a model, so a run with faults has the digests of one without."""

from tests.faults.conftest import SEEDED, Site

NAMES = ("a", "b", "c")


def rules(rounds: int) -> str:
    return (
        f'model = "{SEEDED}"\nrounds = {rounds}\n[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n'
        '[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n'
    )


def begin(site: Site, rounds: int, weights: int, *, behind: str = "") -> None:
    """Session "s", whose clients join when it is there; the first of them reaches its server at `behind`."""
    site.session("s", rules(rounds), CHAOS_WEIGHTS=str(weights))
    site.join(NAMES[0], server=behind, CHAOS_WEIGHTS=str(weights))
    site.join(*NAMES[1:], CHAOS_WEIGHTS=str(weights))


def end(site: Site) -> list[str]:
    """The digests, once it is over."""
    site.server.until("session.finished")
    return site.digests("s")
