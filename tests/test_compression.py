"""The example of codecs: what it measures, and what it is there to show."""

import json

import pytest
from tests.conftest import ROOT, Fedk

pytestmark = pytest.mark.aside

COMPARE = ROOT / "examples" / "compression" / "compare.py"


def test_half_the_bytes_make_as_good_a_model_and_zstd_the_same_one(fedk: Fedk) -> None:
    words = ("--only", "none,zstd,float16,top-k 10 %", "--rounds", "3", "--seeds", "1", "--json")
    none, zstd, half, few = json.loads(fedk("python", COMPARE, *words).out)
    assert zstd["models"] == none["models"], "to the bit"
    assert zstd["bytes"] < 0.8 * none["bytes"]
    assert 0.50 < half["bytes"] / none["bytes"] < 0.52
    assert abs(half["accuracy"] - none["accuracy"]) <= 0.02
    assert half["models"] != none["models"]
    assert 0.15 < few["bytes"] / none["bytes"] < 0.18


def test_the_table_names_each_codec(fedk: Fedk) -> None:
    table = fedk("python", COMPARE, "--only", "int8", "--rounds", "1", "--seeds", "1").out
    assert "int8" in table
    assert "100.0%" in table
