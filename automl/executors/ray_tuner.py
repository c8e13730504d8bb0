"""Ray Tune's Tuner as a client of the study: its Searcher, its trial scheduler, and the thread that they run in.

The executor (`ray_tune.py`) offers runs and hears what becomes of them; nothing here decides anything. Tune's
controller calls the parts below one after the other, so that none of them may wait for long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from automl.executors.inbox import Inbox
from automl.executors.ray_cluster import environment, own_folder
from automl.executors.ray_slot import Happened, SlotPlan
from automl.executors.ray_trainable import TrialSlot

LOST_SLOTS = 3  # slots that a trial may be lost with, before it is taken for the cause

_NEXT_SECONDS = 0.05  # what the driver is given to offer the next run, before a slot rests
_END_SECONDS = 20.0  # what Tune is given to end every actor
_IDLE = 0  # number of the run of a slot that rests
_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # the study is the record: nobody restores a Tuner
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A run that waits for a slot.

    Attributes:
        number: Tells it from all others of this Tuner, from 1.
        is_over: Says whether it has ended before it began.
    """

    number: int
    is_over: Callable[[], bool]


@dataclass(frozen=True)
class Began:
    """A trial of Tune's has an actor; `run` is the number of the run it is for, 0 of none."""

    trial: str
    run: int
    actor: Any


@dataclass(frozen=True)
class Said:
    """A step has come to its end; an exception is what the slot raised."""

    trial: str
    said: Happened | Exception


@dataclass(frozen=True)
class Lost:
    """The actor of a trial of Tune's is gone; Tune starts the trial again elsewhere, or gives it up."""

    trial: str
    run: int
    cause: str


@dataclass(frozen=True)
class GivenUp:
    """Tune does not start a trial again that has lost its actor."""

    run: int


@dataclass(frozen=True)
class Broken:
    """The Tuner itself has failed."""

    error: BaseException


Heard = Began | Said | Lost | GivenUp | Broken


class TunerThread:
    """A Tuner that runs until it is ended."""

    def __init__(
        self, *, demand: Mapping[str, float], slots: int, plan: Callable[[], SlotPlan], hear: Callable[[Heard], None]
    ) -> None:
        """Plan it; `start` starts it.

        Args:
            demand: What a trial asks for, by Ray's names of resources.
            slots: Trials at a time.
            plan: Tells what an actor is started with.
            hear: Takes what happens, in the Tuner's thread.
        """
        self._demand = {name: amount for name, amount in demand.items() if amount}
        self._slots = slots
        self._plan = plan
        self._hear = hear
        self._offers: Inbox[Offer] = Inbox()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-tune", daemon=True)

    def start(self) -> None:
        """Start it; returns before there are actors."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it would write to the terminal
        self._thread.start()

    def offer(self, run: Offer) -> None:
        """Let a run begin in the next slot that is free."""
        self._offers.put(run)

    def end(self) -> None:
        """End every actor, and wait for that."""
        self._is_ending.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        try:
            with own_folder("tune") as folder, environment(_SETTINGS):
                self._tuner(folder).fit()
        except BaseException as error:  # noqa: BLE001 - the driver raises it
            if not self._is_ending.is_set():
                self._hear(Broken(error))

    def _tuner(self, folder: Path) -> tune.Tuner:
        clients = _Clients(self._offers, self._is_ending, self._plan, self._hear)
        return tune.Tuner(
            TrialSlot,
            tune_config=tune.TuneConfig(
                search_alg=_StudySearcher(clients),
                scheduler=_StudyScheduler(clients, tune.PlacementGroupFactory([self._demand], strategy="SPREAD")),
                num_samples=-1,
                max_concurrent_trials=self._slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=LOST_SLOTS),
                stop=_Ending(clients),
                verbose=0,
            ),
        )


@dataclass(frozen=True)
class _Clients:
    """What the Tuner's parts share; Tune copies and pickles them, and this remains."""

    offers: Inbox[Offer]
    is_ending: threading.Event
    plan: Callable[[], SlotPlan]
    hear: Callable[[Heard], None]

    def __deepcopy__(self, memo: object) -> _Clients:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # Tune writes its parts to files, which nobody reads


class _StudySearcher(Searcher):
    """Proposes what the driver has asked the study for; a slot without a run rests in a trial of its own."""

    def __init__(self, clients: _Clients) -> None:
        super().__init__()
        self._clients = clients
        self._runs: dict[str, int] = {}
        self._is_expecting = False  # a run has just ended: the driver is about to offer the next one

    def suggest(self, trial_id: str) -> dict[str, Any]:
        offer = self._next()
        self._runs[trial_id] = offer.number if offer else _IDLE
        return {"run": self._runs[trial_id]}  # no more: Tune copies what it gets here, and keeps it

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        run = self._runs.pop(trial_id)
        self._is_expecting = run != _IDLE
        if error:
            self._clients.hear(GivenUp(run))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is saved."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is resumed."""

    def _next(self) -> Offer | None:
        while True:
            offer = self._clients.offers.take(_NEXT_SECONDS if self._is_expecting else 0.0)
            self._is_expecting = False
            if offer is None or not offer.is_over():
                return offer


class _StudyScheduler(FIFOScheduler):
    """Passes on what trials say.

    The study's decision goes to the slot as an order, other than by what `on_trial_result` returns: Tune's STOP would
    lose how the trial ended, and to wait here would hold up all other trials.

    Tune keeps every trial to its end, so that this leaves of each what Tune itself needs, and no more.
    """

    def __init__(self, clients: _Clients, room: tune.PlacementGroupFactory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clients = clients
        self._room = room
        self._place: Any = None  # of the first trial that ended
        self._actors: dict[str, Any] = {}  # by the trial that runs in it
        self._opened: set[Any] = set()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Say what a trial asks for, in one object for all."""
        trial.update_resources(self._room)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        self._pass_on(trial, result)
        return self.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._pass_on(trial, result)
        self._actors.pop(trial.trial_id, None)
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        trial.last_result.clear()  # Tune then takes the actor's first answer in its place, and need not keep that
        self._place = self._place or trial.storage
        trial.set_storage(self._place)  # nobody looks into its own any more

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._opened.discard(self._actors.pop(trial.trial_id, None))
        written = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
        lines = written.strip().splitlines() or ["for no reason that Ray tells"]
        self._clients.hear(Lost(trial.trial_id, trial.config["run"], lines[-1].strip()))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Say which trials have begun, and let a run that waits for a slot go before slots that would rest.

        Tune asks before whatever it does. A callback of its own would tell of beginnings too, but for every callback
        that is not its own Tune loads MLflow, to count those that are.
        """
        live = tune_controller.get_live_trials()
        for trial in live:
            if trial.status == Trial.RUNNING and trial.trial_id not in self._actors:
                self._begin(trial)
        return next((one for one in live if one.status == Trial.PENDING and one.config["run"] != _IDLE), None)

    def _begin(self, trial: Trial) -> None:
        actor: Any = trial.temporary_state.ray_actor
        self._actors[trial.trial_id] = actor
        if actor not in self._opened:
            self._opened.add(actor)
            actor.open.remote(self._clients.plan())
        self._clients.hear(Began(trial.trial_id, trial.config["run"], actor))

    def _pass_on(self, trial: Trial, result: dict[str, Any]) -> None:
        while result["said"]:
            self._clients.hear(Said(trial.trial_id, result["said"].pop(0)))


class _Ending(tune.Stopper):
    """Ends the Tuner."""

    def __init__(self, clients: _Clients) -> None:
        self._clients = clients

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._clients.is_ending.is_set()
