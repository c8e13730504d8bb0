"""What the benchmarks make of what they have measured."""

from __future__ import annotations

import sys

import pytest

from benchmarks.fixed_run import idle_seconds
from benchmarks.floor import figures, layer_weights, products
from benchmarks.mixed_trials import Note
from benchmarks.reporting import data_folder, table
from benchmarks.throughput import System, summary
from benchmarks.time_to_target import ratios, times_to
from benchmarks.worker_memory import recycling_seconds


def test_table_is_markdown() -> None:
    assert table(["system", "seconds"], [["automl", 1.5]]) == "| system | seconds |\n| --- | --- |\n| automl | 1.5 |"


def test_missing_data_folder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOML_DATA", raising=False)

    with pytest.raises(SystemExit, match="set AUTOML_DATA"):
        data_folder()


def test_layer_weights_are_the_kernels() -> None:
    assert layer_weights({"layers": 3, "units": 64}) == [784 * 64, 64 * 64, 64 * 64, 64 * 10]


def test_products_count_each_direction_of_each_layer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fixed_trials.configs", lambda count, seed: [{"layers": 1, "units": 32}] * count)
    first, last = 784 * 32, 32 * 10
    validation = 2 * 12_000 * (first + last)

    counted = products(trials=2, epochs=3, seed=7)

    assert counted["needed"] == 2 * 3 * (2 * 48_000 * (2 * first + 3 * last) + validation)
    assert counted["three_a_weight"] == 2 * 3 * (2 * 48_000 * 3 * (first + last) + validation)


def test_floor_compares_the_workers_with_the_products() -> None:
    rates = {"one_thread": [90.0, 100.0, 400.0], "one_process": [150.0], "one_thread_a_core": [150.0]}
    one, two = [_took(42.0, busy=42.0)], [_took(32.0, busy=30.0)]

    found = figures(rates, {1: one, 2: two}, {"needed": 1500.0, "three_a_weight": 2000.0})

    assert found["workers_gain"] == pytest.approx(1.4)
    assert found["workers_gain_to_the_end"] == pytest.approx(42.0 / 32.0)
    assert found["workers_gain_of_products_gain"] == pytest.approx(1.4 / 1.5)
    assert found["floor_seconds"] == 10.0
    assert found["times_the_floor"] == 3.2


def _took(seconds: float, *, busy: float) -> dict[str, float]:
    return {"seconds": seconds, "busy_seconds": busy, "whole_seconds": seconds + 8.0}


def test_a_worker_is_idle_from_where_no_trial_is_left_for_it() -> None:
    between_trials = [(0.0, 2), (5.0, 1), (5.5, 2)]
    at_the_end = [(8.0, 1), (9.0, 1), (9.5, 0)]

    assert idle_seconds(between_trials + at_the_end, workers=2, ended=10.0) == (10.0 - 5.5) + (10.0 - 9.0)


def test_target_that_was_never_reached_counts_as_the_whole_time() -> None:
    runs = {"optuna": [{"seconds_to": {"0.975": 41.5}}, {"seconds_to": {"0.975": None}}]}

    assert times_to(0.975, runs, 300.0) == {"optuna": [41.5, 300.0]}


def test_ours_is_compared_with_the_best_peer() -> None:
    times = {"automl, tensorflow": [20.0, 30.0, 25.0], "optuna": [100.0, 300.0, 200.0], "ray": [300.0] * 3}

    assert ratios(times) == {"automl, tensorflow": 8.0}


def test_no_ratio_without_a_peer() -> None:
    assert ratios({"automl, tensorflow": [20.0]}) == {}


def test_throughput_takes_medians_and_the_fastest_peer() -> None:
    systems = [
        System("automl, tensorflow", [], is_ours=True, seconds=[10.0, 30.0, 11.0]),
        System("plain", [], seconds=[44.0, 40.0, 60.0]),
        System("ray", [], seconds=[50.0]),
    ]

    found = summary(systems)

    assert found["fastest_peer"] == "plain"
    assert found["times_as_fast_as_fastest_peer"] == {"automl, tensorflow": 4.0}


def test_system_reads_what_its_process_reached() -> None:
    system = System("peer", [sys.executable, "-c", "print('digits plain wall 151.0 trial s 150.2 best 0.978')"])

    assert system.run({}) > 0
    assert system.best == 0.978


def test_system_that_fails_ends_the_benchmark() -> None:
    system = System("peer", [sys.executable, "-c", "print('best 0.9'); raise SystemExit(3)"])

    with pytest.raises(SystemExit, match="peer ended with 3"):
        system.run({})


def _note(seconds: float, learning_rate: float) -> Note:
    return Note(process_id=1, seconds=seconds, memory_bytes=1, learning_rate=learning_rate)


def test_recycling_costs_what_lies_between_two_workers_trials() -> None:
    kept = [_note(0.0, 0.1), _note(50.0, 0.2)]
    replaced = [_note(1.0, 0.3), _note(10.0, 0.4)]
    fresh = [_note(17.0, 0.5)]
    trial_seconds = {0.1: 50.0, 0.2: 1.0, 0.3: 9.0, 0.4: 2.0, 0.5: 30.0}

    assert recycling_seconds([kept, replaced, fresh], trial_seconds, workers=2) == 5.0
    assert recycling_seconds([kept, replaced], trial_seconds, workers=2) == 0.0
