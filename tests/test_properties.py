"""What holds for every space, option and table: inputs that Hypothesis makes up."""

from __future__ import annotations

import csv
import io
import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.cli.search import _read_configs
from automl.data import load
from automl.data.prepare import prepare
from automl.durations import parse_seconds
from automl.errors import RequestError
from automl.narrowing import parse_settings
from automl.parameters import Choice, Float, Int, Parameter, Repeat
from automl.search_space import SearchSpace, config_key, flatten

quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)

_NAMES = [f"p{index}" for index in range(8)]


@st.composite
def ints(draw: st.DrawFn, name: str) -> Int:
    low = draw(st.integers(1, 50))
    return Int(name, low, low + draw(st.integers(0, 100)), log=draw(st.booleans()))


@st.composite
def floats(draw: st.DrawFn, name: str) -> Float:
    low = draw(st.floats(1e-6, 10.0))
    return Float(name, low, low + draw(st.floats(1e-3, 100.0)), log=draw(st.booleans()))


def choices(name: str) -> st.SearchStrategy[Choice]:
    values = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True)
    return values.map(lambda values: Choice(name, values))


def leaves(name: str) -> st.SearchStrategy[Parameter]:
    return st.one_of(ints(name), floats(name), choices(name))


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    parameters: list[Parameter] = [draw(leaves(name)) for name in _NAMES[: draw(st.integers(1, 4))]]
    if draw(st.booleans()):
        low = draw(st.integers(0, 2))
        parameters.append(Repeat("layers", low, low + draw(st.integers(1, 3)), [draw(leaves("units"))]))
    switch = draw(choices("switch"))
    when = {"switch": list(switch.values[:1])}
    parameters += [switch, Float("conditional", 0.0, 1.0, when=when)]
    return SearchSpace("made-up", parameters, print)


@quick
@given(space=spaces(), seed=st.integers(0, 2**32))
def test_a_drawn_config_lies_in_its_space_and_comes_back_from_its_parts(space: SearchSpace, seed: int) -> None:
    config = space.random_config(random.Random(seed))
    assert space.contains(config)
    assert space.contains(space.default_config())
    flat = flatten(config)
    assert space.complete(flat, lambda name, parameter: pytest.fail(f"{name} is missing")) == config
    assert config_key(space.complete(config, lambda name, parameter: pytest.fail(name))) == config_key(config)


@quick
@given(space=spaces(), seed=st.integers(0, 2**32))
def test_a_narrowed_space_lies_in_the_wider_one_and_has_its_own_fingerprint(space: SearchSpace, seed: int) -> None:
    config = space.random_config(random.Random(seed))
    assert space.narrow({}).fingerprint() == space.fingerprint()
    narrowed = space.narrow({"p0": config["p0"]})
    drawn = narrowed.random_config(random.Random(seed + 1))
    assert drawn["p0"] == config["p0"]
    assert space.contains(drawn)
    assert narrowed.narrow({"p0": config["p0"]}).fingerprint() == narrowed.fingerprint()


@quick
@given(
    texts=st.lists(st.one_of(st.text(max_size=30), st.from_regex(r"p0=[0-9ae.,-]{0,12}", fullmatch=True)), max_size=3)
)
def test_any_set_option_narrows_or_is_refused(texts: list[str]) -> None:
    space = SearchSpace("small", [Int("p0", 1, 9), Choice("p1", ["a", "b"])], print)
    with suppress(RequestError):
        assert space.contains(space.narrow(parse_settings(texts)).default_config())


@quick
@given(text=st.one_of(st.text(max_size=20), st.from_regex(r"[0-9]{1,3}[dhms]?([0-9]{1,2}[ms])?", fullmatch=True)))
def test_any_duration_is_seconds_or_refused(text: str) -> None:
    with suppress(RequestError):
        assert 0 < parse_seconds(text) < float("inf")


@quick
@given(content=st.one_of(st.text(max_size=60), st.from_regex(r"(- \{p0: [0-9a-z\[\]]{0,4}\}\n){0,3}", fullmatch=True)))
def test_any_enqueue_file_is_configs_or_refused(content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first.yaml"
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        space = SearchSpace("small", [Int("p0", 1, 9)], print)
        with suppress(RequestError):
            for config in _read_configs(path):
                assert space.contains(space.complete(config, lambda _, parameter: parameter.default))


_CELLS = st.one_of(
    st.sampled_from(["", "1", "2.5", "-3e4", "nan", "inf", "yes", "no", "2024-01-31", "a", "b", "1e999", "NA", "0x10"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    columns = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(_CELLS, min_size=columns, max_size=columns), max_size=4))
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow([*draw(st.lists(_CELLS, min_size=columns - 1, max_size=columns - 1)), "y"])
    for row in rows * draw(st.sampled_from([1, 8])):
        writer.writerow(row)
    return written.getvalue().encode()


@quick
@given(content=tables(), target=st.sampled_from([None, "y"]))
@pytest.mark.filterwarnings("default")
def test_any_table_of_text_is_prepared_or_refused(content: bytes, target: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        with suppress(RequestError):
            raw = load(str(path), target=target)
            prepared = prepare(raw, task=None, split_seed=0, cache=Path(folder) / "cache")
            assert prepared.spec.train_rows > 0


def test_days_are_a_duration() -> None:
    assert parse_seconds("1d12h") == parse_seconds("1.5 d") == 36 * 3600
    with pytest.raises(RequestError, match="duration such as"):
        parse_seconds("9" * 400 + "d")
