"""`DataRequest`: what data a search was asked to run on; a study keeps it, so that a resume finds the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from automl.data import PreparedDataset, RawDataset, known_datasets, load, load_object, prepare
from automl.dataset_spec import Task
from automl.errors import RequestError, UnknownNameError

CLASS_WEIGHTS = ("balanced",)
MOST_FOLDS = 20


@dataclass(frozen=True, kw_only=True)
class DataRequest:
    """What data a search was asked to run on.

    Attributes:
        source: A built-in name, a client's name such as `openml:61`, or an absolute path; None for Python objects.
        target: Target columns; empty where the source has a target of its own.
        task: One task for all targets, or one a target; empty to infer them.
        validation: Absolute path of the rows that validate, or None.
        test: Absolute path of the rows that become the test split, or None.
        encoding: Text encoding of the source's files, or None to guess it.
        group: Column whose equal values must stay in one split, or None.
        time_column: Column that orders the splits in time, or None.
        sample_weight: Column of the rows' weights in the training loss, or None.
        class_weight: `"balanced"` for classes that count alike in the training loss, or None.
        folds: Folds of a cross-validation; 0 for one split.
        strict: Refuse damaged rows instead of leaving them out.
        split_seed: Seed of the split.

    Raises:
        RequestError: A task, class weight or number of folds that there is not.
    """

    source: str | None
    target: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    validation: str | None = None
    test: str | None = None
    encoding: str | None = None
    group: str | None = None
    time_column: str | None = None
    sample_weight: str | None = None
    class_weight: str | None = None
    folds: int = 0
    strict: bool = False
    split_seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        for task in self.task:
            if task not in list(Task):
                raise UnknownNameError("task", task, [one.value for one in Task])
        if self.class_weight is not None and self.class_weight not in CLASS_WEIGHTS:
            raise UnknownNameError("class weight", self.class_weight, CLASS_WEIGHTS)
        if not isinstance(self.folds, int) or not (self.folds == 0 or 2 <= self.folds <= MOST_FOLDS):
            raise RequestError(f"--folds takes a whole number from 2 to {MOST_FOLDS}, received {self.folds!r}")
        if not isinstance(self.split_seed, int) or self.split_seed < 0:
            raise RequestError(f"--split-seed takes a whole number from 0, received {self.split_seed!r}")

    def load(self, data: object = None, *, validation: object = None, test: object = None) -> RawDataset:
        """Load the raw dataset.

        Args:
            data: The Python object, where there is no `source`.
            validation: Python object of the rows that validate, beside `data`.
            test: Python object of the rows that become the test split, beside `data`.

        Raises:
            DataError: See `automl.data.load` and `load_object`.
        """
        columns: dict[str, Any] = {
            "target": self.target or None,
            "group": self.group,
            "time_column": self.time_column,
            "sample_weight": self.sample_weight,
        }
        if self.source is None:
            name = "frame" if isinstance(data, pd.DataFrame) else "arrays"
            return load_object(name, data, validation=validation, test=test, **columns)
        return load(
            self.source,
            validation=self.validation,
            test=self.test,
            encoding=self.encoding,
            strict=self.strict,
            **columns,
        )

    def prepare(self, raw: RawDataset, cache: Path) -> PreparedDataset:
        """Split, encode and cache the dataset, or find it in the cache.

        Raises:
            DataError: See `automl.data.prepare`.
        """
        tasks = [Task(task) for task in self.task]
        balanced: Literal["balanced"] | None = "balanced" if self.class_weight else None
        return prepare(
            raw,
            task=None if not tasks else tasks[0] if len(tasks) == 1 else tasks,
            split_seed=self.split_seed,
            cache=cache,
            folds=self.folds,
            class_weight=balanced,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The source, and those that splits have of their own."""
        return tuple(source for source in (self.source, self.validation, self.test) if source is not None)

    @property
    def is_missing_file(self) -> bool:
        """True where one of the sources is a path that is no longer there."""
        return any(Path(source).is_absolute() and not Path(source).exists() for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataRequest:
        """Read back what `to_json` gave."""
        return cls(**{**values, "target": tuple(values["target"]), "task": tuple(values["task"])})


def source_of(dataset: object) -> str | None:
    """Return how a resume finds a dataset again: a name, an absolute path, or None for a Python object."""
    if not isinstance(dataset, str | Path):
        return None
    path = Path(dataset).expanduser()
    is_path = isinstance(dataset, Path) or (str(dataset) not in known_datasets() and (path.suffix or path.exists()))
    return str(path.absolute()) if is_path and ":" not in str(dataset) else str(dataset)


def source_of_split(split: str, rows: object, dataset: object) -> str | None:
    """Return how a resume finds the rows of a split again: an absolute path, or None for none and for Python objects.

    Raises:
        RequestError: The rows are a Python object, but the dataset is none.
    """
    if rows is None or source_of(dataset) is None:
        return None
    if not isinstance(rows, str | Path):
        raise RequestError(
            f"{split}= takes a path where the dataset is no Python object; received {type(rows).__name__}"
        )
    return str(Path(rows).expanduser().absolute()) if str(rows) else None


def names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in `"a,b"`, or in a sequence of names.

    Example:
        >>> names("income, hours")
        ('income', 'hours')
    """
    parts = value.split(",") if isinstance(value, str) else value or ()
    return tuple(part.strip() for part in parts)
