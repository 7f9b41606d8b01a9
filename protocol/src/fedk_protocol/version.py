"""The protocol's version, said in Hello and in Welcome."""

VERSION = (1, 0)
"""(major, minor). Another major is refused; another minor is not: unknown fields are ignored."""
