"""Text of strangers, made fit for a terminal and for a line of a log."""


def printable(text: str, keep: str = "") -> str:
    """The text; what steers a terminal, breaks a line or turns its direction is written as \\x1b, but not what `keep` has."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
