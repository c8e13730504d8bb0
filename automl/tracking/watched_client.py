"""Does MLflow answer? A client of it that says for how long a request has had no answer."""

from __future__ import annotations

import time
from typing import Any


class WatchedClient:
    """An `mlflow.MlflowClient`, and since when it waits for an answer.

    Attributes:
        client: The client itself, for what may take long although it is answered: artifacts.
    """

    def __init__(self, client: Any) -> None:
        """Watch a client."""
        self.client = client
        self._asked_at: float | None = None

    @property
    def silent_seconds(self) -> float:
        """How long the request under way has had no answer; 0 where there is none."""
        asked_at = self._asked_at  # the other thread may be answered meanwhile
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def __getattr__(self, name: str) -> Any:
        """Return a method of the client that is watched while it runs."""
        method = getattr(self.client, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            self._asked_at = time.monotonic()
            try:
                return method(*arguments, **options)
            finally:
                self._asked_at = None

        return ask
