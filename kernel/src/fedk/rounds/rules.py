"""The rules of a session: what a session file or a REST body may say, with every default filled in."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from fedk.api.config import Duration
from fedk.rounds.condition import condition

VERSION = 1
"""Of this schema; stored with each session."""

DEPTH = 64
"""Levels of tables in tables. Limits of who reads and writes JSON are a few hundred, and differ."""

WRAPS = 16
"""Aggregators around one: each is made and asked for every update."""

_SHOWN = 60  # characters of a key that a message repeats
_WRITTEN = {"written": True}  # the context of rules that stand in a row

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


_SELECTION = re.compile(r"""\s*([A-Za-z0-9_.-]+)\s*(==|!=)\s*["']([^"']*)["']\s*""")


def selection(text: str) -> tuple[str, str, str] | None:
    """(attribute, comparison, value) of `clients.select`; None for "random"."""
    if text == "random":
        return None
    match = _SELECTION.fullmatch(text)
    if match is None:
        raise ValueError("""wants "random" or ATTRIBUTE == "VALUE", for example site == "north\"""")
    return match[1], match[2], match[3]


class Table(BaseModel):
    """A table of a session file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Clients(Table):
    fraction: float = Field(1.0, gt=0, le=1, description="share of the clients present that is asked in a round")
    min: int | None = Field(
        None,
        ge=1,
        description="fewest clients present; below it the session waits (default: what the aggregator needs, at "
        "least 2); in sync mode no fewer than round.min_updates",
    )
    max: int | None = Field(None, ge=1, description="most clients asked in a round")
    grace: Duration = Field(30.0, ge=0, description="a client lost for less than this still counts as present")
    select: str = Field("random", description='"random", or an attribute to match: site == "north"')

    @model_validator(mode="after")
    def _ordered(self) -> "Clients":
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"max = {self.max} is below min = {self.min}")
        return self

    @field_validator("select")
    @classmethod
    def _selects(cls, text: str) -> str:
        selection(text)
        return text


class RoundRules(Table):
    over_select: float = Field(1.0, ge=1, le=10, description="asked = target × this")
    quorum: float = Field(1.0, gt=0, le=1, description="share of the target without which nothing is committed")
    min_updates: int | None = Field(
        None, ge=1, description="fewest updates of a commit (default: what the aggregator needs)"
    )
    deadline: Duration = Field(600.0, gt=0, description="from the first task delivered")
    retries: int = Field(2, ge=0, description="attempts after the first; each keeps the accepted updates")
    replace: bool = Field(True, description="replace a client that is gone or failed inside the round")


class Async(Table):
    buffer: int = Field(10, ge=1, description="updates a commit")
    max_staleness: int = Field(20, ge=0, description="commits after which an answer is refused as stale")


class ValidationRules(Table):
    every: int = Field(1, ge=0, description="validate every this many models; 0: never")


class Limits(Table):
    max_abs: float | None = Field(
        None, gt=0, description="largest |element| of an update's model (default: 1e6 × max(1, largest of the base))"
    )
    max_examples: int = Field(2**31, ge=1, description="largest num_examples")
    max_norm: float | None = Field(None, gt=0, description="largest ‖delta‖₂")


class Keep(Table):
    keep: str = Field(
        "verdict",
        pattern=r"^(verdict|all|last:[1-9][0-9]{0,8})$",
        description='how long updates stay: until the "verdict"; those of the "last:N" models; "all"',
    )


class KeepModels(Table):
    keep: str = Field(
        "all",
        pattern=r"^(all|last:[1-9][0-9]{0,8}|every:[1-9][0-9]{0,8})$",
        description='whose bytes stay: "all", the "last:N", or "every:N", and always the newest',
    )


class Aggregation(BaseModel):
    """`use`, and each driver's keys under its own name; the keys are checked by the driver's Config."""

    model_config = ConfigDict(frozen=True, extra="allow")

    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    use: str = Field("fedavg", description="the aggregator's entry-point name, or distribution:name")
    wrap: tuple[str, ...] = Field(
        (), description="aggregators around it, the outermost first, for example central-dp; each has its own table"
    )
    then: str = Field("", description="an aggregator whose step takes the result for its mean, for example fedadam")
    plain: tuple[str, ...] = Field(
        ("*running_mean", "*running_var", "*num_batches_tracked"),
        description="tensors that are averaged only, by pattern",
    )

    @field_validator("wrap")
    @classmethod
    def _few(cls, wrap: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(wrap) > WRAPS and info.context != _WRITTEN:
            raise ValueError(f"names {len(wrap)} aggregators, the most is {WRAPS}")
        return wrap

    @property
    def names(self) -> tuple[str, tuple[str, ...], str]:
        """What makes the models."""
        return self.use, self.wrap, self.then

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The drivers' own keys, by driver."""
        return dict(self.__pydantic_extra__)


class Coding(BaseModel):
    """`use`, and each codec's keys under its own name; the keys are checked by the codec's fields."""

    model_config = ConfigDict(frozen=True, extra="allow")

    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    use: str = Field(
        "", description='what updates travel in, for example "float16"; clients without it answer natively; "": all do'
    )

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The codecs' own keys, by codec."""
        return dict(self.__pydantic_extra__)


class Rules(BaseModel):
    """A session's rules. `model` and `name` of a session file are not here: they name things, they rule nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    rounds: int = Field(1, ge=1, description="how many to commit")
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="of all draws (default: drawn, stored)"
    )
    mode: Literal["sync", "async"] = Field("sync", description="rounds, or a buffer that is never awaited")
    async_: Async = Field(Async(), alias="async")
    clients: Clients = Clients()
    round: RoundRules = RoundRules()
    validation: ValidationRules = ValidationRules()
    stop_when: str = Field(
        "",
        description='a target, "validate.accuracy >= 0.97", or patience, "validate.loss no lower for 5 rounds"; "" for none',
    )
    aggregator: Aggregation = Aggregation()
    codec: Coding = Coding()
    limits: Limits = Limits()
    updates: Keep = Keep()
    models: KeepModels = KeepModels()
    client_settings: dict[str, Any] = Field({}, description="JSON for clients with each task")
    deterministic: bool = Field(
        False, description="exact sums: the same models to the bit, whatever the order, the combiners and the crashes"
    )

    @classmethod
    def written(cls, document: Any) -> "Rules":
        """Those of a row, which may be older than some bounds: no session is one that a start cannot read."""
        return cls.model_validate(document, context=_WRITTEN)

    @cached_property
    def document(self) -> dict[str, Any]:
        """As JSON has them; not to be changed. A session's rules are asked for with each of its batches."""
        return self.model_dump(mode="json", by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _json(cls, data: Any, info: ValidationInfo) -> Any:
        """What every reader and writer of JSON takes, also below keys that are a driver's or a client's."""
        if info.context == _WRITTEN:
            return data
        level = [("", data)]
        for _ in range(DEPTH):
            level = [inner for _, one in level for inner in _inner(one)]
            if name := next((name for name, one in level if isinstance(one, float) and not isfinite(one)), None):
                raise ValueError(f"{name[:_SHOWN]} wants a finite number")
        if level:
            raise ValueError(f"there are more than {DEPTH} levels of tables in tables")
        return data

    @field_validator("stop_when")
    @classmethod
    def _stops(cls, text: str) -> str:
        condition(text)
        return text

    @model_validator(mode="after")
    def _kept(self) -> "Rules":
        if self.codec.use and self.updates.keep != "verdict":
            # the trail has the hash of what came, the spool what it unpacked to: a replay would not find it
            raise ValueError(
                f'updates.keep = "{self.updates.keep}" does not go with codec.use: keep them, or pack them'
            )
        return self

    def settled(self, *, minimum: int, seed: int | None) -> "Rules":
        """With the defaults that depend on the aggregator (`minimum`) and on a draw (`seed`) filled in."""
        fewest = self.round.min_updates if self.round.min_updates is not None else minimum
        clients = self.clients.min
        if clients is None:
            clients = max(2, minimum, fewest)
            if self.clients.max is not None:
                clients = min(clients, self.clients.max)
        elif self.mode == "sync":
            clients = max(clients, fewest)  # else a round aims at fewer updates than it may commit, and fails
        return self.model_copy(
            update={
                "seed": self.seed if self.seed is not None else seed,
                "clients": self.clients.model_copy(update={"min": clients}),
                "round": self.round.model_copy(update={"min_updates": fewest}),
            }
        )


def _inner(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return (("a list", one) for one in value) if isinstance(value, list | tuple) else ()
