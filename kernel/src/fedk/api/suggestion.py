"""What was meant: the choice nearest to a name that is none."""

from collections.abc import Iterable
from difflib import get_close_matches

_CUTOFF = 0.5  # two-letter names with one letter wrong ("s4", "s3") are 0.5 alike


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, whatever its case; None where none is like it."""
    folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=_CUTOFF)
    return folded[found[0]] if found else None


def did_you_mean(name: str, choices: Iterable[str], form: str = '"{}"') -> str:
    """` Did you mean "s3"?`, to be appended to a sentence; nothing where no choice is near."""
    choice = nearest(name, choices)
    return f" Did you mean {form.format(choice)}?" if choice is not None else ""
