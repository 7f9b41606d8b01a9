"""Noise for formulas that declare it, from the operating system's cryptographic source."""

import os

import numpy as np

from fedk.api.aggregator import Array

_BITS = 11  # of 64; the 53 left are what a float64 can hold


def normal(n: int) -> Array:
    """`n` independent draws of N(0, 1): Box and Muller's transform of uniform numbers from os.urandom."""
    pairs = (n + 1) // 2
    whole = np.frombuffer(os.urandom(16 * pairs), np.uint64) >> _BITS
    uniform = (whole + 0.5) * 2.0**-53  # never 0, whose logarithm is infinite
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:pairs])), 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
