"""`CompiledModel`: one model trained by our compiled epochs, on the rows of one split or fold.

Its graph may be that of other models too, so it puts its own state into it before anything else.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from automl.data import PreparedDataset, Split
from automl.search_space import Build
from automl.training.assemble import build_network, steps_until_cap
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.loop import Evaluator, Sweep, TrainingLoop
from automl.training.metrics import Array, score
from automl.training.rows import Rows, open_rows
from automl.training.weights import save_weights
from automl.training_defaults import training_value


class CompiledModel:
    """One model, the rows that it trains on, and those that validate it."""

    def __init__(
        self, job: TrialJob, data: PreparedDataset, graphs: Graphs, *, fold: int | None, seed: int, epochs: int
    ) -> None:
        """Open the splits; nothing is built yet.

        Args:
            job: What to train.
            data: The prepared dataset; its test split is not read.
            graphs: The worker's graphs, among which there may be one for this model.
            fold: The fold that validates; None for the dataset's own validation split.
            seed: Seed of weights, dropout and shuffling.
            epochs: Epochs that schedules run over.
        """
        self._job = job
        self._spec = data.spec
        self._graphs = graphs
        self._seed = seed
        self._epochs = epochs
        self._ended = ExitStack()
        self._validation: Split | None = None
        if job.refit_epochs is not None:
            self._train = data.unsealed()
            self._schedule_rows = self._train.rows
        else:
            self._train, self._validation = data.split("train", fold=fold), data.split("validation", fold=fold)
            self._schedule_rows = data.spec.train_rows

    def build(self, build: Build) -> int:
        """Build the model, and return how many weights it has.

        Raises:
            TrialFailure: See `assemble`.
        """
        config = self._job.config
        network = build_network(build, config, self._seed, self._spec)
        total_steps = steps_until_cap(config, self._schedule_rows, self._epochs)
        self._graph, self._state = self._graphs.open(network, config, self._spec, total_steps)
        self._graph.enter(self._state)
        self._ended.callback(self._graph.leave, self._state)
        return int(network.count_params())

    def trace(self, shared: MutableMapping[str, Rows]) -> None:
        """Open the rows, once for all folds that share them, and trace the epoch."""
        batch_size = training_value(self._job.config, "batch_size")
        graph = self._graph
        self._loop = TrainingLoop(
            graph.model,
            _opened(self._train, shared),
            batch_size=batch_size,
            seed=self._seed,
            chosen=self._train.chosen,
            sweep=graph.training,
        )
        self._loop.trace()
        if self._validation is not None:
            rows, chosen = _opened(self._validation, shared), self._validation.chosen
            self._evaluator = Evaluator(graph.model, rows, chosen=chosen, sweep=graph.evaluation)
            self._evaluator.trace()

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train on every row once, evaluate on the validation rows where there are any, and return the metrics."""
        self._graph.enter(self._state)
        metrics = self._metrics(self._loop.train_epoch(epoch), self._train, "")
        if self._validation is not None:
            metrics |= self._metrics(self._evaluator.evaluate(), self._validation, "val_")
        metrics["learning_rate"] = float(self._graph.model.optimizer.learning_rate)
        return metrics

    def has_ended(self) -> bool:
        """Return False: a compiled epoch can always be followed by another."""
        return False

    def save_weights(self, path: Path) -> None:
        """Write the weights as they are."""
        self._graph.enter(self._state)
        save_weights(self._graph.model, path)

    def state(self) -> list[Array] | None:
        """Return all that training changes, or None where the model keeps something that is not seen from outside."""
        return self._graph.copy_of(self._state) if self._graph.is_whole else None

    def restore(self, arrays: Sequence[Array]) -> None:
        """Go back to a state that `state` returned."""
        self._graph.put_back(self._state, arrays)

    def close(self) -> None:
        """Leave the graph to others."""
        self._ended.close()

    def _metrics(self, sweep: Sweep, split: Split, prefix: str) -> dict[str, float]:
        metrics = {f"{prefix}{name}": value for name, value in sweep.metrics.items()}
        metrics[f"{prefix}loss"] = sweep.loss
        if sweep.predictions:
            truths = [np.asarray(output)[sweep.rows] for output in split.outputs]
            wanted = [self._job.objective.metric]
            metrics |= score(truths, sweep.predictions, self._spec.outputs, prefix=prefix, wanted=wanted)
        return metrics


def _opened(split: Split, shared: MutableMapping[str, Rows]) -> Rows:
    key = str(split.inputs[0].filename)
    if key not in shared:
        shared[key] = open_rows(split)
    return shared[key]
