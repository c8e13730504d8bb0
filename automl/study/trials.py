"""`TrialTable`: the records of a study's trials, with what is asked at every turn counted as they change."""

from __future__ import annotations

from collections import Counter

from automl.records import Config, TrialRecord, TrialState
from automl.search_space import config_key


class TrialTable:
    """Records by number. Every question but `records` costs the same at any number of trials.

    Example:
        >>> table = TrialTable()
        >>> table.put(TrialRecord(number=0, config={"units": 8}, seed=1, state=TrialState.RUNNING))
        >>> table.count(TrialState.RUNNING), table.has_seen({"units": 8})
        (1, True)
    """

    def __init__(self) -> None:
        """Start empty."""
        self._records: dict[int, TrialRecord] = {}
        self._states: Counter[TrialState] = Counter()
        self._keys: set[str] = set()
        self._frozen: tuple[TrialRecord, ...] | None = ()

    def __getitem__(self, number: int) -> TrialRecord:
        """Return a trial's newest record."""
        return self._records[number]

    def put(self, record: TrialRecord) -> None:
        """Add a trial, or replace what was known of it; its config stays what it was."""
        before = self._records.get(record.number)
        if before is None:
            self._keys.add(config_key(record.config))
        else:
            self._states[before.state] -= 1
        self._states[record.state] += 1
        self._records[record.number] = record
        self._frozen = None

    def has(self, record: TrialRecord) -> bool:
        """Return True where this is what is known of a trial."""
        return self._records.get(record.number) == record

    def count(self, *states: TrialState) -> int:
        """Return how many trials are in one of `states`."""
        return sum(self._states[state] for state in states)

    def has_seen(self, config: Config) -> bool:
        """Return True when a trial has this config."""
        return config_key(config) in self._keys

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial's newest record, in the order in which they were added."""
        if self._frozen is None:
            self._frozen = tuple(self._records.values())
        return self._frozen
