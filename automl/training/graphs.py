"""Graphs that are reused: models of one structure are trained in one traced graph, one after the other.

Tracing a small model takes longer than training it. Two models have the same structure when they differ in numbers
only (`tunable.py`): trials of other learning rates, the folds of a trial, a finalist's seeds. Each has a state of its
own, all that training changes, which lies in the graph while it is trained and in arrays while another is.
"""

from __future__ import annotations

import gc
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from automl.dataset_spec import DatasetSpec
from automl.records import Config
from automl.training.assemble import compile_model, dtype_policy
from automl.training.losses import make_losses
from automl.training.metrics import Array
from automl.training.rows import ResidentRows, Rows
from automl.training.structure import structure_of
from automl.training.sweeps import CompiledSweep, evaluation_sweep, training_sweep
from automl.training.tunable import Cell, Numbers, numbers_of, optimizer_with_cells, with_cells
from automl.training.weights import arrays_of

_GRAPHS = 16  # kept in a worker at most, the last used ones ...
_WEIGHTS = 5_000_000  # ... and of so many weights in all: beside them lie slots and the values of first
_GARBAGE_TRIALS = 16  # after which garbage is collected, which takes 40 to 80 ms ...
_GARBAGE_WEIGHTS = 1_000_000  # ... or sooner, after so many weights


class State:
    """All that training changes in a model: arrays while another state lies in the graph."""

    def __init__(self, weights: list[Array], slots: list[Array], numbers: Numbers) -> None:
        """Keep the values.

        Args:
            weights: In the order of `model.variables`: seeds of dropout too.
            slots: In the order of `model.optimizer.variables`.
            numbers: The numbers of the model, by name.
        """
        self.weights = weights
        self.slots = slots
        self.numbers = numbers


class TrainingGraph:
    """A compiled model, and the compiled passes over rows that train and evaluate it."""

    def __init__(self, model: Any, cells: Mapping[str, Cell] | None = None) -> None:
        """Trace nothing yet.

        Args:
            model: A compiled `keras.Model`.
            cells: The numbers that it reads from variables.
        """
        self.model = model
        self.weight_count = int(model.count_params())
        self.training: CompiledSweep = training_sweep(model)
        self.evaluation: CompiledSweep = evaluation_sweep(model)
        self._cells = cells or {}
        self._slots = arrays_of(model.optimizer.variables) if cells else []
        self._inside: State | None = None

    def own(self) -> State:
        """Return the state that the model has now, for a graph that no other model uses."""
        self._inside = State([], [], {})
        return self._inside

    def fresh(self, network: Any, numbers: Numbers) -> State:
        """Return the state of a model before its first step: a network's weights, and slots as they were at first."""
        return State(arrays_of(network.variables), self._slots, numbers)

    def enter(self, state: State) -> None:
        """Put a state into the graph; the one that lay in it is taken out and kept."""
        if self._inside is state:
            return
        if self._inside is not None:
            self._inside.weights = arrays_of(self.model.variables)
            self._inside.slots = arrays_of(self.model.optimizer.variables)
        _assign(self.model.variables, state.weights)
        _assign(self.model.optimizer.variables, state.slots)
        for name, number in state.numbers.items():
            self._cells[name].variable.assign(number)
        state.weights, state.slots = [], []
        self._inside = state

    def copy_of(self, state: State) -> list[Array]:
        """Return the arrays of a state, wherever it lies: weights, then slots."""
        if self._inside is state:
            return [*arrays_of(self.model.variables), *arrays_of(self.model.optimizer.variables)]
        return [*state.weights, *state.slots]

    def put_back(self, state: State, arrays: Sequence[Array]) -> None:
        """Give a state the arrays that `copy_of` returned."""
        if self._inside is state:
            _assign([*self.model.variables, *self.model.optimizer.variables], arrays)
        else:
            count = len(state.weights)
            state.weights, state.slots = list(arrays[:count]), list(arrays[count:])

    @property
    def is_whole(self) -> bool:
        """True where training changes nothing but states; a layer may have variables that Keras does not know of."""
        cells = [cell.variable for cell in self._cells.values()]
        known = [*self.model.variables, *self.model.optimizer.variables, *self.model.metrics_variables, *cells]
        return self.training.reads_only(known)

    def leave(self, state: State) -> None:
        """Forget a state that is not needed any more."""
        if self._inside is state:
            self._inside = None


class Graphs:
    """What a worker keeps from trial to trial: graphs, by the structure of their models, and open rows."""

    def __init__(self) -> None:
        """Know none."""
        self._known: OrderedDict[str, TrainingGraph] = OrderedDict()
        self._rows: dict[str, Rows] = {}
        self._left_trials = self._left_weights = 0  # since garbage was collected

    @property
    def count(self) -> int:
        """How many graphs are kept."""
        return len(self._known)

    def rows(self, *, of_refit: bool) -> dict[str, Rows]:
        """Return the rows that are open, by file; what a trial opens beside them stays open for the next.

        Rows that were streamed are opened anew: by then there may be room for them in memory.

        Args:
            of_refit: The trial trains on other rows than those before it, which are then given back.
        """
        stay = {} if of_refit else self._rows
        self._rows = {file: rows for file, rows in stay.items() if isinstance(rows, ResidentRows)}
        return self._rows

    def open(self, network: Any, config: Config, spec: DatasetSpec, total_steps: int) -> tuple[TrainingGraph, State]:
        """Return a graph for a network, and the state with which its training begins.

        Args:
            network: A `keras.Model` as its builder returned it.
            config: Its config.
            spec: The dataset.
            total_steps: As for `compile_model`.

        Raises:
            TrialFailure: See `compile_model`.
        """
        structure = structure_of(network, config)
        if structure is None:
            graph = TrainingGraph(compile_model(network, config, spec, total_steps=total_steps))
            return graph, graph.own()
        numbers = numbers_of(network, config, total_steps)
        key = json.dumps([structure, sorted(numbers)])
        graph = self._known.get(key) or _with_variables(network, config, spec, numbers)
        self._known[key] = graph
        self._known.move_to_end(key)
        self._forget_old()
        return graph, graph.fresh(network, numbers)

    def trial_ended(self, weight_count: int) -> None:
        """Collect what trials have left behind, once it is worth its time: Keras's models are cycles.

        Args:
            weight_count: Weights of the trial's model.
        """
        self._left_trials += 1
        self._left_weights += weight_count
        if self._left_trials >= _GARBAGE_TRIALS or self._left_weights >= _GARBAGE_WEIGHTS:
            gc.collect()
            self._left_trials = self._left_weights = 0

    def _forget_old(self) -> None:
        def are_too_many() -> bool:
            weights = sum(graph.weight_count for graph in self._known.values())
            return len(self._known) > _GRAPHS or weights > _WEIGHTS

        while len(self._known) > 1 and are_too_many():
            self._known.popitem(last=False)


def _with_variables(network: Any, config: Config, spec: DatasetSpec, numbers: Numbers) -> TrainingGraph:
    import keras

    cells = {name: Cell(keras.Variable(value, trainable=False, dtype="float32")) for name, value in numbers.items()}
    with dtype_policy(config):
        model = with_cells(network, cells)
    model.compile(optimizer=optimizer_with_cells(config, cells), loss=make_losses(config, spec.outputs))
    return TrainingGraph(model, cells)


def _assign(variables: list[Any], arrays: Sequence[Array]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
