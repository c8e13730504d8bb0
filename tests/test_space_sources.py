from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest

from automl.dataset_spec import InputSpec
from automl.errors import SpaceError, UnknownNameError
from automl.space_sources import auto_space, default_space, find_space, known_spaces
from automl.testing import array_input, categorical_input, image_input, make_spec, numeric_input, text_input

SPACE_FILE = """
from automl import Int, SearchSpace

def double(units):
    return 2 * units

def build(config, spec):
    return double(config["units"])

space = SearchSpace("mine", [Int("units", 8, 64)], build)
other = SearchSpace("other", [Int("depth", 1, 4)], build)
number = 3
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a module into the working directory; sys.path and sys.modules are as before after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(text: str = SPACE_FILE, name: str = "my_space.py") -> Path:
        (tmp_path / name).write_text(textwrap.dedent(text), "utf-8")
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
        return tmp_path / name

    return make


def test_the_ready_made_spaces_are_installed() -> None:
    assert {"linear", "mlp", "cnn", "resnet", "tabular", "text", "transfer"} <= set(known_spaces())


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn", "resnet", "tabular", "text", "transfer"])
def test_an_installed_space_is_found_by_its_name(name: str) -> None:
    space = find_space(name)
    assert (space.name, space.source) == (name, name)
    assert find_space(f"search_spaces.{name}:space") == space


def test_a_file_is_found_by_its_path(write: Callable[..., Path]) -> None:
    path = write()
    for reference in (str(path), "my_space.py", "my_space.py:space", f"{path}:space"):
        space = find_space(reference)
        assert (space.name, space.source) == ("mine", f"{path}:space")
    other = find_space("my_space.py:other")
    assert (other.name, other.source) == ("other", f"{path}:other")


def test_a_source_finds_the_same_space_again_from_anywhere(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    first = find_space("my_space.py:other")
    monkeypatch.chdir(os.sep)
    assert find_space(first.source).fingerprint() == first.fingerprint()


def test_two_files_of_one_name_are_two_spaces(write: Callable[..., Path], tmp_path: Path) -> None:
    write()
    (tmp_path / "sub").mkdir()
    write(SPACE_FILE.replace('"mine"', '"yours"'), "sub/my_space.py")
    assert [find_space("my_space.py").name, find_space("sub/my_space.py").name] == ["mine", "yours"]
    assert find_space("my_space.py").build({"units": 4}, None) == 8


def test_a_module_is_found_in_the_working_directory(write: Callable[..., Path]) -> None:
    write(name="my_module_of_spaces.py")
    space = find_space("my_module_of_spaces:other")
    assert (space.name, space.source) == ("other", "my_module_of_spaces:other")


def test_a_builder_from_a_file_reaches_a_process_that_cannot_import_the_file(write: Callable[..., Path]) -> None:
    pickled = cloudpickle.dumps(find_space(str(write())).build)
    program = "import sys, cloudpickle; print(cloudpickle.load(sys.stdin.buffer)({'units': 4}, None))"
    done = subprocess.run([sys.executable, "-c", program], input=pickled, cwd=os.sep, capture_output=True, check=True)
    assert done.stdout.strip() == b"8"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("mlpp", "unknown search space 'mlpp'; did you mean 'mlp'? known: cnn, linear, mlp"),
        ("space", "or module:attribute, file.py:attribute, file.yaml"),
        ("zebra", "unknown search space 'zebra'; known: cnn, linear, mlp"),
        ("", "unknown search space ''"),
        ("my_space.py:spaces", "did you mean 'space'? known: other, space"),
        ("search_spaces.mlp:spac", "unknown search space in search_spaces.mlp 'spac'; did you mean 'space'?"),
        ("search_spaces.mlp:", "unknown search space in search_spaces.mlp ''"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(reference: str, says: str, write: Callable[..., Path]) -> None:
    write()
    with pytest.raises(UnknownNameError) as caught:
        find_space(reference)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere.py", "no such file: nowhere.py"),
        ("nowhere.yaml", "no such file: nowhere.yaml"),
        ("nowhere.yml", "no such file: nowhere.yml"),
        ("nowhere.py:space", "no such file: nowhere.py"),
        ("nowhere:space", "cannot import module 'nowhere': ModuleNotFoundError: No module named 'nowhere'"),
        (":space", "cannot import module ''"),
        ("my_space.py:number", "is a int, not a SearchSpace"),
        ("search_spaces.mlp:build", "'search_spaces.mlp:build' is a function, not a SearchSpace"),
    ],
)
def test_what_is_no_space_is_refused(reference: str, says: str, write: Callable[..., Path]) -> None:
    write()
    with pytest.raises(SpaceError) as caught:
        find_space(reference)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("space = (", "SyntaxError: '(' was never closed"),
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("from automl import Int; Int('a', 2, 1)", "SpaceError: Int 'a': low must be at most high"),
        ("caf\udce9 = 1", "Error: "),
    ],
)
@pytest.mark.parametrize("as_module", [False, True])
def test_a_file_that_does_not_import_is_refused(
    text: str, says: str, as_module: bool, write: Callable[..., Path], tmp_path: Path
) -> None:
    write("", "broken_space.py")
    (tmp_path / "broken_space.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = set(sys.modules)
    with pytest.raises(SpaceError, match=r"cannot import") as caught:
        find_space("broken_space:space" if as_module else "broken_space.py")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("broken_space")]


IMAGE, GREY, ARRAY = image_input(32, 32, 3, name="photo"), image_input(28, 28, 1), array_input(5, 2)
NUMBERS, CODES, TEXT = numeric_input(3, name="numbers"), categorical_input(4, 5), text_input(6)


@pytest.mark.parametrize(
    ("inputs", "default", "families"),
    [
        ([IMAGE], "cnn", ["cnn", "resnet"]),
        ([GREY], "cnn", ["cnn", "resnet", "mlp"]),
        ([IMAGE, NUMBERS], "cnn", ["cnn", "resnet"]),
        ([IMAGE, GREY], "mlp", ["mlp", "linear"]),
        ([ARRAY], "mlp", ["mlp", "linear"]),
        ([NUMBERS], "mlp", ["mlp", "tabular", "linear"]),
        ([NUMBERS, CODES], "tabular", ["tabular", "linear"]),
        ([CODES], "tabular", ["tabular", "linear"]),
        ([NUMBERS, TEXT], "tabular", ["tabular", "linear"]),
        ([TEXT], "text", ["text"]),
    ],
)
def test_the_space_suits_the_data(inputs: list[InputSpec], default: str, families: list[str]) -> None:
    spec = make_spec(*inputs, outputs=())
    assert default_space(spec) == default
    space = auto_space(spec)
    assert space.name == "auto"
    assert space.source == "+".join(families)
    if len(families) > 1:
        assert space.leaves()["family"].values == tuple(families)  # type: ignore[union-attr]
    again = find_space(space.source)
    assert again == replace(space, name=again.name)
    assert again.fingerprint() == space.fingerprint()


def test_installed_spaces_can_be_joined() -> None:
    space = find_space("mlp+linear")
    assert (space.name, space.source) == ("mlp-linear", "mlp+linear")
    with pytest.raises(UnknownNameError, match="unknown search space 'linaer'; did you mean 'linear'"):
        find_space("mlp+linaer")
    with pytest.raises(SpaceError, match="names 'mlp' twice"):
        find_space("mlp+mlp")
