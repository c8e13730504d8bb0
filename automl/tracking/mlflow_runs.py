"""One study as runs in one MLflow store: what is there is read from MLflow, what is missing is written."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from automl.dataset_spec import DatasetSpec
from automl.records import TrialRecord, TrialState
from automl.study_record import StudyRecord
from automl.tracking.mlflow_model import write_model
from automl.tracking.mlflow_values import (
    EPOCH_MARK,
    Child,
    Point,
    RunKey,
    Signature,
    common_tags,
    dataset_fields,
    epoch_metrics,
    final_metrics,
    final_state,
    finite_or_nan,
    flatten,
    has_model,
    key_from_tags,
    now_ms,
    one_line,
    run_status,
    settings_params,
    start_times_ms,
    started,
    state_tags,
    study_id,
    study_status,
    study_tags,
    summary_metrics,
    trial_name,
)
from automl.tracking.study_changes import BestCurve, StudyChanges
from automl.tracking.watched_client import WatchedClient

_log = logging.getLogger(__name__)

LIVE_SECONDS = 5.0
"""Running trials are written this often, and from this age on: a shorter trial is written once, whole."""

REFUSALS = 3
"""How often MLflow may refuse (HTTP 4xx) one trial before it is left out, so that it holds up no other."""

# A call to log_batch takes 1000 entities, among them at most 100 params and 100 tags.
_METRICS_PER_CALL = 800
_PARAMS_PER_CALL = 100
_PAGE_SIZE = 1000

# Without it the UI guesses, and shows pages for language models first.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

_FINAL_STATES = frozenset(state.value for state in TrialState if state.is_final)


@dataclass(kw_only=True)
class _Run:
    """What is known to be in MLflow of one run.

    Attributes:
        run_id: MLflow's id.
        start_ms: Start, in milliseconds since 1970; epochs are timed from here.
        is_open: True while MLflow calls it RUNNING.
        state: The tag `automl.state`, as last written.
        epochs: Number of epochs that are there; None where nobody has looked yet.
        has_inputs: True when the dataset is there.
        params: Names and values of the params that are there.
        metrics: Names and last values of the metrics that are there; only of runs that are read back.
    """

    run_id: str
    start_ms: int
    is_open: bool = True
    state: str = ""
    epochs: int | None = 0
    has_inputs: bool = False
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """True when all of an ended trial was written; closed runs of trials that may go on are not meant."""
        return not self.is_open and self.state in _FINAL_STATES

    @classmethod
    def read(cls, run: Any) -> _Run:
        """Return what MLflow says of a run (`mlflow.entities.Run`)."""
        return cls(
            run_id=run.info.run_id,
            start_ms=run.info.start_time,
            is_open=run.info.status == "RUNNING",
            state=run.data.tags.get("automl.state", ""),
            epochs=None,
            has_inputs=bool(run.inputs and run.inputs.dataset_inputs),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
        )


class Projection:
    """One study in one MLflow store.

    Lives in the writer's thread; only `count_unsent`, `is_open`, `silent_seconds` and `stopped` are for other threads.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None) -> None:
        """Remember where to write; mlflow is imported, and the store opened, by the first `catch_up`."""
        self.stopped = threading.Event()
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root
        self._client: Any = None
        self._experiment_id = ""
        self._parent: _Run | None = None
        self._parent_status = "RUNNING"
        self._children: dict[RunKey, _Run] = {}
        self._sent: dict[RunKey, Signature] = {}
        self._unsettled: dict[RunKey, Child] = {}  # what may have to be written still
        self._sent_final: object = None
        self._changes = StudyChanges()
        self._curve = BestCurve()
        self._curve_step: int | None = None
        self._best_tag = ""
        self._refusals: Counter[RunKey] = Counter()
        self._live_due_at = 0.0

    @property
    def is_open(self) -> bool:
        """True once MLflow has said what it has, and has not failed since."""
        return self._parent is not None

    @property
    def silent_seconds(self) -> float:
        """How long MLflow has left a request without an answer; 0 where none is under way."""
        return 0.0 if self._client is None else float(self._client.silent_seconds)

    @property
    def refusals(self) -> int:
        """How often MLflow has refused a trial."""
        return self._refusals.total()

    def open(self, record: StudyRecord) -> None:
        """Read what MLflow has of a study; what an open projection knows is not read again."""
        if self._parent is not None:
            return
        if self._client is None:
            from mlflow import MlflowClient

            self._client = WatchedClient(MlflowClient(self._tracking_uri))
        self._experiment_id = self._find_or_create_experiment(record.dataset.name)
        parent = self._find_or_create_parent(record)
        self._read_children(parent)
        self._curve_step = self._last_step(parent.run_id, "value")
        self._parent = parent

    def catch_up(self, record: StudyRecord, *, is_last: bool) -> None:
        """Write what MLflow does not have of a record; in the last round, the trials still running too."""
        self.open(record)
        self._set_status(study_status(record, is_last=False))
        changed = self._changes.take(record)
        self._unsettled |= {child.key: child for child in started(record, changed)}
        self._write_trials(record, is_last=is_last)
        if self.stopped.is_set():
            return
        self._write_curve(record, changed)
        self._write_final(record)
        self._set_status(study_status(record, is_last=is_last))

    def forget(self) -> None:
        """Trust nothing after an error: what MLflow has is read again before the next write."""
        self._parent = None
        self._children, self._unsettled = {}, {}
        self._changes, self._curve, self._best_tag = StudyChanges(), BestCurve(), ""

    def count_unsent(self, record: StudyRecord) -> int:
        """Return how many trainings and final scores are not in MLflow as the record has them."""
        unsent = sum(self._sent.get(child.key) != child.signature for child in started(record))
        return unsent + (record.final is not None and self._sent_final != final_state(record))

    def count_ended(self, record: StudyRecord) -> int:
        """Return how many of a record's ended trainings are in MLflow, whole."""
        ended = (child for child in started(record) if child.trial.state.is_final)
        return sum(self._sent.get(child.key) == child.signature for child in ended)

    # Opening: what does MLflow have?

    def _find_or_create_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = self._artifact_location()
            return str(self._client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        if experiment.lifecycle_stage == "deleted":
            _log.info("experiment %r was deleted in MLflow, which never gives a name free: restoring it", name)
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _artifact_location(self) -> str | None:
        is_embedded = self._tracking_uri.startswith("sqlite:")  # A server has a place of its own.
        return self._artifact_root.absolute().as_uri() if is_embedded and self._artifact_root else None

    def _find_or_create_parent(self, record: StudyRecord) -> _Run:
        study = study_id(record)
        query = f"tags.`automl.study_id` = '{study}' AND tags.`automl.kind` = 'study'"
        found = next(iter(self._search(query)), None)
        if found is None:
            start_ms = now_ms() - round(1000 * record.elapsed_seconds)
            run = self._create_run(record.name, start_ms, study_tags(record))
            self._parent_status = "RUNNING"
        else:
            run = _Run.read(found)
            self._parent_status = found.info.status
        self._log_inputs(run, record.dataset)
        self._write_settings(run, record)
        return run

    def _write_settings(self, run: _Run, record: StudyRecord) -> None:
        # MLflow's params never change; what a resume was given anew (another budget, say) goes into tags.
        settings = settings_params(record)
        new = {name: value for name, value in settings.items() if name not in run.params}
        changed = {
            f"automl.setting.{name}": value for name, value in settings.items() if run.params.get(name, value) != value
        }
        self._log(run, params=new, tags=changed)

    def _read_children(self, parent: _Run) -> None:
        self._children = {}
        self._sent = {}
        found = self._search(f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
        # Ended ones last: should there be two of a kind (two drivers), the one that is whole is taken.
        for run in sorted(found, key=lambda run: bool(run.info.status != "RUNNING")):
            key = key_from_tags(run.data.tags)
            if key is None:
                continue
            child = self._children[key] = _Run.read(run)
            if child.has_ended:
                reason = run.data.tags.get("automl.reason", "")
                self._sent[key] = Signature(child.state, reason, int(child.metrics.get("epochs", 0)))

    def _search(self, query: str) -> list[Any]:
        runs: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                query,
                max_results=_PAGE_SIZE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _last_step(self, run_id: str, metric: str) -> int | None:
        return max((point.step for point in self._client.get_metric_history(run_id, metric)), default=None)

    # Children: trials and finalists.

    def _write_trials(self, record: StudyRecord, *, is_last: bool) -> None:
        is_live_due = time.monotonic() >= self._live_due_at
        unsettled = self._unsettled.values()
        due = [child for child in unsettled if self._is_due(child, is_last=is_last, is_live_due=is_live_due)]
        start_times = start_times_ms([child.trial for child in due])
        for child, start_ms in zip(due, start_times, strict=True):
            if self.stopped.is_set():
                return
            with self._counted_refusals(child, record):
                run = self._find_or_create_run(child, record, start_ms)
                self._write_trial(run, child.trial)
                if child.trial.state.is_final or is_last:
                    self._end(run, child.trial)
            self._sent[child.key] = child.signature
        # What has ended was due, and is written or refused for good.
        self._unsettled = {child.key: child for child in unsettled if not child.trial.state.is_final}
        if is_live_due:
            self._live_due_at = time.monotonic() + LIVE_SECONDS

    def _is_due(self, child: Child, *, is_last: bool, is_live_due: bool) -> bool:
        is_sent = self._sent.get(child.key) == child.signature
        if self._refusals[child.key] >= REFUSALS:
            return False
        if child.trial.state.is_final:
            return not is_sent
        if is_last:
            return not is_sent or self._children[child.key].is_open
        return not is_sent and is_live_due and child.trial.seconds >= LIVE_SECONDS

    @contextmanager
    def _counted_refusals(self, child: Child, record: StudyRecord) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if 400 <= error.get_http_status_code() < 429:
                self._refusals[child.key] += 1
                if self._refusals[child.key] == REFUSALS:
                    _log.warning("MLflow refuses %s of study %s: %s", child.name, record.name, one_line(error))
            raise

    def _find_or_create_run(self, child: Child, record: StudyRecord, start_ms: int) -> _Run:
        """Return an open run for a trial; what is newly created carries the trial's tags already."""
        run = self._children.get(child.key)
        if run is not None and run.has_ended:
            # The trial ran again after it had ended; its earlier run goes to MLflow's trash, whole.
            self._client.delete_run(run.run_id)
            run = None
        if run is None:
            tags = self._child_tags(child, record) | state_tags(child.trial)
            run = self._children[child.key] = self._create_run(child.name, start_ms, tags)
            run.state = child.trial.state.value
        elif not run.is_open:
            self._client.update_run(run.run_id, status="RUNNING")
            run.is_open = True
        self._log_inputs(run, record.dataset)
        return run

    def _write_trial(self, run: _Run, trial: TrialRecord) -> None:
        if run.epochs is None:
            run.epochs = self._last_step(run.run_id, EPOCH_MARK) or 0
        groups = [epoch for epoch in epoch_metrics(trial.epochs, run.start_ms) if epoch[0].step > run.epochs]
        if trial.state.is_final:
            groups.append(_missing(run, summary_metrics(trial), _end_ms(run, trial)))
        params = {name: value for name, value in flatten(trial.config).items() if name not in run.params}
        self._log(run, groups=groups, params=params, tags=state_tags(trial) if run.state != trial.state else {})
        run.state = trial.state.value
        run.epochs = max(run.epochs, trial.epochs[-1].epoch if trial.epochs else 0)

    def _child_tags(self, child: Child, record: StudyRecord) -> dict[str, str]:
        return common_tags(record) | {
            "mlflow.parentRunId": self._open_parent().run_id,
            "automl.kind": child.key.kind,
            "automl.trial": str(child.trial.number),
            "automl.seed": str(child.trial.seed),
        }

    # The parent: best value, final score, model, status.

    def _open_parent(self) -> _Run:
        if self._parent is None:
            raise RuntimeError("the parent run is opened before anything is written")
        return self._parent

    def _write_curve(self, record: StudyRecord, changed: Sequence[TrialRecord]) -> None:
        points = [
            Point("value", finite_or_nan(value), now_ms(), number)
            for number, value in self._curve.advance(record, changed)
            if self._curve_step is None or number > self._curve_step
        ]
        best = record.best if record.final is not None else self._curve.best
        if points and best is not None:
            name = trial_name(best.number)
            tags = {"automl.best": name} if name != self._best_tag else {}
            self._log(self._open_parent(), groups=[[point] for point in points], tags=tags)
            self._curve_step, self._best_tag = points[-1].step, name

    def _write_final(self, record: StudyRecord) -> None:
        state = final_state(record)
        if record.final is None or state == self._sent_final:
            return
        parent = self._open_parent()
        # What a lost answer left in doubt is compared with what is there: a score is written once.
        parent.metrics = dict(self._client.get_run(parent.run_id).data.metrics)
        score = _missing(parent, final_metrics(record), now_ms())
        self._log(parent, groups=[score], tags={"automl.best": trial_name(record.final.trial)})
        if has_model(record):
            write_model(self._client.client, self._experiment_id, record, parent.run_id)
        self._sent_final = state

    def _set_status(self, status: str) -> None:
        if status == self._parent_status:
            return
        parent = self._open_parent()
        if status == "RUNNING":
            self._client.update_run(parent.run_id, status=status)
        else:
            self._client.set_terminated(parent.run_id, status=status)
        self._parent_status = status

    # MLflow's calls.

    def _create_run(self, name: str, start_ms: int, tags: Mapping[str, str]) -> _Run:
        run = self._client.create_run(self._experiment_id, start_time=start_ms, tags=dict(tags), run_name=name)
        return _Run(run_id=run.info.run_id, start_ms=start_ms)

    def _log_inputs(self, run: _Run, spec: DatasetSpec) -> None:
        if run.has_inputs:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(**dataset_fields(spec))
        self._client.log_inputs(run.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        run.has_inputs = True

    def _log(
        self,
        run: _Run,
        *,
        groups: Iterable[Sequence[Point]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write groups of metrics (none is torn apart), params and tags in as few calls as MLflow allows."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [[Metric(*point) for point in points] for points in _packed(groups)]
        named = [Param(name, value) for name, value in (params or {}).items()]
        calls: list[Any] = list(zip_longest(metrics, _sliced(named, _PARAMS_PER_CALL), fillvalue=[])) or [([], [])]
        run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        for index, (some_metrics, some_params) in enumerate(calls):
            # Tags come last: once they say how a trial ended, everything else is there.
            some_tags = run_tags if index == len(calls) - 1 else []
            if some_metrics or some_params or some_tags:
                self._client.log_batch(run.run_id, metrics=some_metrics, params=some_params, tags=some_tags)
        run.params.update(params or {})

    def _end(self, run: _Run, trial: TrialRecord) -> None:
        self._client.set_terminated(run.run_id, status=run_status(trial.state), end_time=_end_ms(run, trial))
        run.is_open = False
        run.params, run.metrics = {}, {}  # Never asked for again, and 10,000 of them take room.


def _end_ms(run: _Run, trial: TrialRecord) -> int:
    return run.start_ms + round(1000 * trial.seconds)


def _packed(groups: Iterable[Sequence[Point]]) -> Iterator[list[Point]]:
    """Join groups to as few lists as fit into one call each."""
    pack: list[Point] = []
    for group in groups:
        if pack and len(pack) + len(group) > _METRICS_PER_CALL:
            yield pack
            pack = []
        pack.extend(group)
    if pack:
        yield pack


def _sliced(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _missing(run: _Run, values: Mapping[str, float], timestamp_ms: int) -> list[Point]:
    """Return the metrics of a whole run that are not there, or are there with another value."""

    def is_there(name: str, value: float) -> bool:
        known = run.metrics.get(name)
        return known is not None and (known == value or (math.isnan(known) and math.isnan(value)))

    return [Point(name, value, timestamp_ms, 0) for name, value in values.items() if not is_there(name, value)]
