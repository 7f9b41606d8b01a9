"""What a result may say of itself."""

import math
from typing import Any

import grpc
import pytest

from fedk.aggregation.expected import Expected
from fedk.api.errors import Refused
from fedk.network import results
from fedk.network.calls import Ended
from fedk.rounds.door import OpenTask
from fedk_protocol.v1 import federation_pb2 as pb

VALIDATE = OpenTask("s1", "default", 1, "validate", None)
INIT = OpenTask("s1", "default", 0, "init", Expected(None))
TRAIN = OpenTask("s1", "default", 1, "train", Expected(None))
FINE: dict[str, Any] = {"task": "t1", "result_id": "r1", "num_examples": 3, "metrics": {"accuracy": 0.9}}


def result(**fields: Any) -> pb.Result:
    return pb.Result(**{**FINE, **fields})


def blob(data: bytes, **fields: Any) -> pb.Blob:
    return pb.Blob(**{"size": len(data), "inline": data, **fields})


def test_honest_ones_pass() -> None:
    results.check(result(), VALIDATE)
    results.check(result(num_examples=0, metrics={}), INIT)
    results.check(result(before={"validate": pb.Measured(num_examples=3, metrics={"loss": 1.0})}), TRAIN)


@pytest.mark.parametrize(
    ("fields", "reason", "says"),
    [
        ({"num_examples": 0}, "no-examples", "num_examples is 0"),
        ({"num_examples": 2**64 - 1}, "too-large", "limits.max_examples"),
        ({"metrics": {"loss": math.nan}}, "bad-metric", "loss is nan"),
        ({"metrics": {"loss": -1.7e308}}, "bad-metric", r"loss is -1.7e\+308, a metric is at most ±1e\+200"),
        ({"metrics": {"": 1.0}}, "bad-metric", "1 to 100 printable"),
        ({"metrics": {"a\nb": 1.0}}, "bad-metric", r"'a\\nb'"),
        ({"metrics": {"x" * 101: 1.0}}, "bad-metric", "1 to 100 printable"),
        ({"metrics": {str(n): 1.0 for n in range(257)}}, "bad-metric", "metrics: 257 entries, at most 256"),
        ({"settings_read": ["x"] * 1_001}, "too-large", "settings_read: 1,001 entries"),
        ({"settings_read": ["x" * 101]}, "too-large", "settings_read"),
        ({"blobs": {str(n): blob(b"") for n in range(65)}}, "bad-names", "blobs: 65 entries"),
        ({"blobs": {"model": blob(b"", codec="pickle")}}, "not-supported", "model: codec pickle"),
        ({"blobs": {"model": blob(b"", representation=pb.REPRESENTATION_DELTA)}}, "not-supported", "no deltas"),
        ({"before": {"validate": pb.Measured()}}, "no-examples", "validate: num_examples is 0"),
        ({"before": {"validate": pb.Measured(num_examples=2**64 - 1)}}, "no-examples", "validate"),
        ({"before": {"a.b": pb.Measured(num_examples=1)}}, "bad-metric", "a.b is no kind"),
        ({"before": {"train": pb.Measured(num_examples=1)}}, "bad-metric", "train is no kind"),
        (
            {"before": {"validate": pb.Measured(num_examples=1, metrics={"loss": math.inf})}},
            "bad-metric",
            "loss is inf",
        ),
        (
            {"before": {"validate": pb.Measured(num_examples=1, metrics={"loss": 1e201})}},
            "bad-metric",
            "at most ±1e",
        ),
        ({"before": {f"k{n}": pb.Measured(num_examples=1) for n in range(17)}}, "bad-metric", "before: 17 entries"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_reason(fields: dict[str, Any], reason: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        results.check(result(**fields), TRAIN)
    assert caught.value.reason == reason


def test_an_initial_model_is_of_no_more_examples_than_a_row_has() -> None:
    """One more stopped the server."""
    with pytest.raises(Refused, match="num_examples is 18,446,744,073,709,551,615") as caught:
        results.check(result(num_examples=2**64 - 1, metrics={}), INIT)
    assert caught.value.reason == "too-large"


def test_a_validation_has_no_blobs() -> None:
    with pytest.raises(Refused, match='kind "validate" carries no blobs'):
        results.intake(result(blobs={"model": blob(b"weights")}), VALIDATE)


def test_bytes_are_those_of_the_sorted_names() -> None:
    blobs = {"model": blob(b"222"), "control": blob(b"11"), "Zeta": blob(b"0")}
    assert results.bytes_of(result(blobs=blobs)) == b"011222"


def test_bytes_that_are_missing_are_named() -> None:
    with pytest.raises(Refused, match="model: 0 bytes came of the 9 announced"):
        results.bytes_of(result(blobs={"model": pb.Blob(size=9)}))


@pytest.mark.parametrize("ids", [{"task": ""}, {"result_id": ""}, {"task": "t" * 65}, {"result_id": "a b"}])
def test_a_result_without_its_ids_ends_the_call(ids: dict[str, str]) -> None:
    with pytest.raises(Ended) as caught:
        results.check_ids(result(**ids))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
