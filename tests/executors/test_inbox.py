from __future__ import annotations

import threading
import time

from automl.executors.inbox import Inbox

_LOOKS = 50_000  # the first of which got stuck was one of 2,674 to 9,628, where an inbox was a `SimpleQueue`


def test_things_come_in_the_order_in_which_they_were_put() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    inbox.put(2)
    assert [inbox.take(), inbox.take(), inbox.take()] == [1, 2, None]


def test_what_another_thread_puts_is_waited_for() -> None:
    inbox: Inbox[int] = Inbox()
    threading.Timer(0.1, inbox.put, [1]).start()
    assert inbox.take(60.0) == 1


def test_no_look_into_an_empty_inbox_gets_stuck() -> None:
    looks = iter(range(_LOOKS))

    def look() -> None:
        for _ in looks:
            assert Inbox[int]().take(1e-6) is None

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(60.0)
    assert next(looks, None) is None, "a look took a minute"
    assert not thread.is_alive()


def test_a_timeout_that_is_over_is_none() -> None:
    began = time.monotonic()
    assert Inbox[int]().take(-1.0) is None
    assert time.monotonic() - began < 10
