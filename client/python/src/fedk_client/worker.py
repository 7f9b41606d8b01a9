"""Runs user code for one assignment: a fresh model with the incoming weights, the seed set, the answer checked."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from fedk_client.assignment import MODEL, Answer, Assignment
from fedk_client.errors import AppError
from fedk_client.seeds import seeded
from fedk_client.settings import Settings
from fedk_client.task import Client, Reports, Task, Unheard, Update, Validation
from fedk_protocol.codec import Arrays, Safetensors

if TYPE_CHECKING:
    from fedk_client.app import ClientApp  # which can be run, and so imports this

M = TypeVar("M")
D = TypeVar("D")
G = TypeVar("G", Update, Validation)

INIT, TRAIN, VALIDATE = "init", "train", "validate"


class Worker(Generic[M, D]):
    """One app with its data. `state_of(session, round)` gives what `task.state` shows."""

    def __init__(
        self,
        app: "ClientApp[M, D]",
        client: Client,
        data: D,
        *,
        state_of: Callable[[str, int], Arrays] = lambda _session, _round: {},
        reports: Reports | None = None,
    ) -> None:
        self._app, self._client, self._data = app, client, data
        self._state_of, self._reports = state_of, reports or Unheard()
        self.alone = False
        """Whether the process does nothing else meanwhile: its random generators are not put back after each call."""

    def perform(self, assignment: Assignment) -> Answer:
        """Raises whatever user code raises, and AppError where its answer is not what was asked."""
        if assignment.kind == INIT:
            return self._initial(assignment)
        given = _Given(assignment)
        before = {
            kind: self._measure(kind, given) for kind in dict.fromkeys(assignment.before) if kind in self._app.kinds
        }
        if assignment.kind == VALIDATE:
            measured = self._measure(VALIDATE, given)
            _check_wants(assignment, measured.metrics)
            return Answer(
                num_examples=measured.num_examples,
                metrics=measured.metrics,
                before=before,
                settings_read=given.settings.read,
            )
        return self._train(given, before)

    def _initial(self, assignment: Assignment) -> Answer:
        with seeded(assignment.seed):
            net = self._app.model()
        return Answer(blobs={MODEL: self._app.weights(net)})

    def _measure(self, kind: str, given: "_Given") -> Validation:
        return _checked(self._call(kind, given), Validation, kind)

    def _train(self, given: "_Given", before: Mapping[str, Validation]) -> Answer:
        assignment = given.assignment
        update = _checked(self._call(assignment.kind, given), Update, assignment.kind)
        _check_wants(assignment, update.metrics)
        return Answer(
            blobs={MODEL: self._app.weights(update.model), **_sets(assignment, update)},
            num_examples=update.num_examples,
            metrics=update.metrics,
            before=before,
            settings_read=given.settings.read,
            state=update.state,
        )

    def _call(self, kind: str, given: "_Given") -> object:
        seed, task = given.assignment.seed, self._task(kind, given)
        with seeded(seed, alone=self.alone) as anew:
            net = self._app.with_weights(given.weights)
            anew()  # a model that is cached draws nothing but the first time
            return self._app.function(kind)(net, task)

    def _task(self, kind: str, given: "_Given") -> Task[D]:
        assignment = given.assignment
        return Task(
            self._data,
            client=self._client,
            id=assignment.id,
            kind=kind,
            session=assignment.session,
            round=assignment.round,
            seed=assignment.seed,
            settings=given.settings,
            sent=given.sent,
            state=self._state_of(assignment.session, assignment.round),
            deadline=assignment.deadline,
            reports=self._reports,
        )


class _Given:
    """An assignment with its inputs decoded; its calls share the record of settings read."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.settings = Settings.from_json(assignment.settings)
        self.sent = {name: Safetensors().decode(blob) for name, blob in assignment.inputs.items()}
        if MODEL not in self.sent:
            raise AppError(f"the {assignment.kind} task came without a model: only {', '.join(self.sent) or 'nothing'}")
        self.weights = self.sent.pop(MODEL)


def _checked(given: object, wanted: type[G], kind: str) -> G:
    if not isinstance(given, wanted):
        raise AppError(f"{kind} returned {type(given).__name__}, not fedk_client.{wanted.__name__}")
    return given


def _check_wants(assignment: Assignment, metrics: Mapping[str, float]) -> None:
    if not assignment.wants:
        return
    wanted = (name.removeprefix(f"{assignment.kind}.") for name in assignment.wants)
    if missing := [name for name in wanted if name not in metrics]:
        raise AppError(
            f"{assignment.kind} reported no metric {', '.join(missing)}, which the session's aggregator needs; "
            f"it reported {', '.join(metrics) or 'none'}"
        )


def _sets(assignment: Assignment, update: Update) -> dict[str, Arrays]:
    # sets that nobody asked for stay here: the same code serves SCAFFOLD and plain averaging
    if not assignment.sets:
        return {}
    if missing := [name for name in assignment.sets if name not in update.sets]:
        raise AppError(
            f"train returned no set {', '.join(missing)}, which the session's aggregator needs: "
            f"Update(…, sets={{…}}); it returned {', '.join(update.sets) or 'none'}"
        )
    return {name: update.sets[name] for name in assignment.sets}
