"""Mutants that change nothing that matters, and why, by their names."""

EQUIVALENT: dict[str, str] = {}
