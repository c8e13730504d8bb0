"""The class Trainable: one slot of a Ray cluster, which Ray Tune places, keeps warm and starts again where it is lost.

Tune's `train` is a step: it waits for the driver's next order, carries it out in the slot (`ray_slot.py`), and returns
what has happened. It runs in a thread of its own, so that the actor hears meanwhile what does not wait for a step: a
trial is abandoned, or everything ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ray import tune

from automl.executors.base import Ended
from automl.executors.messages import Prepare
from automl.executors.ray_slot import FolderRefs, Happened, Prepared, RemoteSlot, SlotPlan
from automl.records import Decision, TrialResult

REST = "rest"  # the order to a slot without a job: end this trial of Tune's, so that one with a job may begin

Result = dict[str, Any]


class TrialSlot(tune.Trainable):
    """A warm actor: trials of Tune's follow one another in it, each with a job of ours, or with none while it rests."""

    def setup(self, config: Result) -> None:
        """Begin empty: `open` makes the slot."""
        self._orders: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
        self._at_work = threading.Lock()
        self._slot: Future[RemoteSlot] = Future()

    def reset_config(self, new_config: Result) -> bool:
        """Go on to another trial of Tune's; its job comes as an order."""
        return True

    async def open(self, plan: SlotPlan) -> None:
        """Start the worker; it imports keras meanwhile."""
        try:
            self._slot.set_result(RemoteSlot(plan))
        except Exception as error:  # noqa: BLE001 - `prepare` raises it, where the driver hears it
            self._slot.set_exception(error)

    async def prepare(self, message: Prepare, log_path: Path) -> Prepared:
        """Open the dataset."""
        return await asyncio.to_thread(self._work, "prepare", message, log_path)

    async def fetch(self, files: FolderRefs) -> Prepared:
        """Take the dataset out of the object store."""
        return await asyncio.to_thread(self._work, "fetch", files)

    async def wait_ready(self) -> None:
        """Wait until the worker has imported keras."""
        await asyncio.to_thread(self._work, "wait_ready")

    async def call(
        self, function: str, arguments: Mapping[str, Any], backend: str | None, timeout_seconds: float | None
    ) -> Any:
        """Run a function, given as `module:name`, in the worker."""
        return await asyncio.to_thread(self._work, "call", function, arguments, backend, timeout_seconds)

    async def order(self, method: str, *arguments: Any) -> None:
        """Take an order of the driver's: a method of the slot, or `REST`."""
        self._orders.put((method, arguments))

    async def decide(self, decision: Decision) -> None:
        """Answer the last report, for which the worker waits: it need not wait for Tune's next step as well."""
        self._slot.result().decide(decision)
        self._orders.put(("go_on", ()))

    async def abandon(self, run: int, result: TrialResult) -> None:
        """End a run's job at once; the step that is under way, or the next, says so."""
        self._slot.result().abandon(run, result)

    async def train(self) -> Result:
        """Let Tune wait for a step, and nobody else."""
        return await asyncio.to_thread(self.step)

    def step(self) -> Result:
        """Carry out an order.

        Returns:
            What Tune is told: whether its trial is over, and in a list what has happened or which error was raised.
            Whoever hears it empties the list, because Tune keeps what trials said last.
        """
        method, arguments = self._orders.get()
        if method == REST:
            return {"done": True, "said": []}
        try:
            happened: Happened = self._work(method, *arguments)
        except Exception as error:  # noqa: BLE001 - it goes to the driver
            return {"done": True, "said": [error]}
        has_ended = not happened.events or any(isinstance(event, Ended) for event in happened.events)
        return {"said": [happened], **({"done": True} if has_ended else {})}

    def get_auto_filled_metrics(self, *arguments: Any, **options: Any) -> Result:
        """Return nothing: Tune would keep statistics of it for every trial."""
        return {}

    def cleanup(self) -> None:
        """End the worker."""
        self._orders.put((REST, ()))
        if self._slot.done() and self._slot.exception() is None:
            self._slot.result().interrupt()
            self._work("close")

    def _work(self, method: str, *arguments: Any) -> Any:
        """Call a method of the slot, one after the other: the actor's own methods overtake each other."""
        with self._at_work:
            return getattr(self._slot.result(), method)(*arguments)
