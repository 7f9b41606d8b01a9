from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from fedk.api.mistake import mistakes
from fedk.api.suggestion import did_you_mean, nearest


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int | None = Field(None, ge=1, lt=9)
    either: Annotated[float | str, BeforeValidator(lambda value: value)] = ""
    names: tuple[str, ...] = ()
    token: SecretStr = SecretStr("")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mode: Literal["sync", "async"] = "sync"
    async_: Inner = Field(Inner(), alias="async")
    needed: int = Field(description="how many")
    keep: str = Field("all", pattern="^(all|last:[0-9]+)$", description='"all", or "last:N"')


def found(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(data)
    return [str(one) for one in mistakes(error.value, Outer, data, ("aggregator", "x-y"))]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "aggregator.x-y.needed is needed: how many"),
        ({"needed": "many"}, 'aggregator.x-y.needed = "many" wants a whole number'),
        ({"needed": 1.5}, "aggregator.x-y.needed = 1.5 wants a whole number"),
        ({"needed": 1, "mode": "asink"}, 'aggregator.x-y.mode = "asink" wants "sync" or "async"'),
        ({"needed": 1, "async": {"size": 9}}, "aggregator.x-y.async.size = 9 must be < 9"),
        ({"needed": 1, "async": {"either": []}}, "aggregator.x-y.async.either = [] wants a number or text, in quotes"),
        ({"needed": 1, "async": {"names": ["a", 2]}}, "aggregator.x-y.async.names = 2 wants text, in quotes"),
        ({"needed": 1, "async": {"token": 12}}, 'aggregator.x-y.async.token = "…" wants text, in quotes'),
        ({"needed": 1, "keep": "most"}, 'aggregator.x-y.keep = "most" is not allowed: "all", or "last:N"'),
        ({"needed": 1, "async": 3}, "aggregator.x-y.async = 3 wants a table"),
        (
            {"needed": 1, "async": {"sise": 3}},
            "aggregator.x-y.async.sise = 3 is not a key here. Did you mean aggregator.x-y.async.size?",
        ),
        (
            {"needed": 1, "size": 3},
            "aggregator.x-y.size = 3 is not a key here. Did you mean aggregator.x-y.async.size?",
        ),
        ({"needed": 1, "qqq": {}}, "[aggregator.x-y.qqq] is not a key here. There are: mode, async, needed, keep."),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_file(data: dict[str, Any], text: str) -> None:
    assert text in found(data)


def test_a_long_value_is_shortened() -> None:
    (text,) = found({"needed": "x" * 1000})
    assert len(text) < 130


def test_the_nearest_choice_is_found_whatever_its_case() -> None:
    assert nearest("FedAvgg", ["fedavg", "fedyogi"]) == "fedavg"
    assert nearest("s4", ["local", "s3"]) == "s3"
    assert nearest("postgres", ["local", "s3"]) is None
    assert did_you_mean("zzz", ["local"]) == ""
    assert did_you_mean("lcal", ["local"], "[{}]") == " Did you mean [local]?"
