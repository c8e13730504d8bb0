from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cloudpickle
import pytest

from automl.errors import SpaceError
from automl.parameters import Choice, Float, Int, Parameter, Repeat
from automl.search_space import SearchSpace
from automl.space_sources import auto_space, find_space, known_spaces, to_yaml
from automl.testing import image_input, make_spec, numeric_input
from search_spaces.mlp import build as mlp_build

MLP_FILE = """\
name: my-mlp
builder: search_spaces.mlp:build
parameters:
  - repeat: hidden
    low: 1
    high: 4
    default: 2
    parameters:
      - {int: units, low: 16, high: 512, log: true, default: 256}
      - {float: dropout, low: 0.0, high: 0.6, step: 0.05, when: {hidden: [2, 3]}}
  - {choice: optimizer, values: [adam, sgd]}
  - {float: momentum, low: 0, high: 0.99, when: {optimizer: [sgd]}}
"""

BUILDERS = """
from functools import partial
from automl import Int, SearchSpace

def double(units):
    return 2 * units

def build(config, spec):
    return double(config["units"])

def lonely(config, spec, more):
    return config

class Builder:
    def __init__(self, config, spec):
        pass

space = SearchSpace("mine", [Int("units", 8, 64)], lambda config, spec: 3 * config["units"])
tripled = partial(build)
number = 3
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file into the working directory; sys.path is as before after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(text: str, name: str = "space.yaml") -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), "utf-8")
        return tmp_path / name

    return make


def one_parameter(parameter: str) -> str:
    """Return a file with one parameter, on line 4."""
    return f"name: one\nbuilder: mlp\nparameters:\n{parameter}\n"


def refused(path: Path | str) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(SpaceError) as caught:
        find_space(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_a_space(write: Write) -> None:
    path = write(MLP_FILE)
    space = find_space("space.yaml")
    assert space == SearchSpace(
        "my-mlp",
        [
            Repeat(
                "hidden",
                1,
                4,
                [
                    Int("units", 16, 512, log=True, default=256),
                    Float("dropout", 0.0, 0.6, step=0.05, when={"hidden": [2, 3]}),
                ],
                default=2,
            ),
            Choice("optimizer", ["adam", "sgd"]),
            Float("momentum", 0.0, 0.99, when={"optimizer": ["sgd"]}),
        ],
        print,
    )
    assert space.build is mlp_build
    assert space.source == str(path)


def test_the_source_finds_the_space_again_from_anywhere(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(BUILDERS, "sub/builders.py")
    write(MLP_FILE.replace("search_spaces.mlp:build", "builders.py:build"), "sub/space.yml")
    space = find_space("sub/space.yml")
    monkeypatch.chdir(os.sep)
    again = find_space(space.source)
    assert (again, again.fingerprint(), again.source) == (space, space.fingerprint(), space.source)


def test_the_example_of_the_documentation_is_a_space(write: Write) -> None:
    text = (Path(__file__).parent.parent / "docs" / "spaces.md").read_text("utf-8")
    write(text.partition("```yaml\n")[2].partition("```")[0])
    space = find_space("space.yaml")
    assert space.build is mlp_build
    assert space.default_config()["hidden"] == 2 * [{"units": 256, "dropout": 0.3}]


def test_the_line_ends_and_the_mark_of_other_systems_do_no_harm(write: Write) -> None:
    write("\ufeff" + MLP_FILE.replace("\n", "\r\n"), "other.yaml")
    write(MLP_FILE)
    assert find_space("other.yaml") == find_space("space.yaml")


def test_scalars_are_those_of_yaml_1_2(write: Write) -> None:
    write(
        one_parameter(
            """\
  - {float: rate, low: 1e-5, high: 1e-1, log: true}
  - {choice: odd, values: [on, no, 2:30, 010, 2024-01-01, ~, True, 7, -1.5E3, .5, 5., "5", "true", ""]}
"""
        )
    )
    rate, odd = find_space("space.yaml").parameters
    assert rate == Float("rate", 1e-5, 1e-1, log=True)
    expected = ["on", "no", "2:30", "010", "2024-01-01", None, True, 7, -1500.0, 0.5, 5.0, "5", "true", ""]
    assert repr(odd) == repr(Choice("odd", expected))


@pytest.mark.parametrize("empty", ["", "null"])
def test_no_text_is_null(empty: str, write: Write) -> None:
    write(one_parameter(f"  - choice: penalty\n    values:\n      - l1\n      - {empty}\n"))
    assert find_space("space.yaml").parameters == (Choice("penalty", ["l1", None]),)


@pytest.mark.parametrize(
    ("reference", "gives"),
    [("builders.py:build", 8), ("sub/builders.py:build", 8), ("builders.py:space", 12), ("builders.py:tripled", 8)],
)
def test_a_builder_stands_in_a_python_file_beside_the_file(reference: str, gives: int, write: Write) -> None:
    write(BUILDERS, f"there/{reference.rpartition(':')[0]}")
    write(MLP_FILE.replace("search_spaces.mlp:build", reference), "there/space.yaml")
    assert find_space("there/space.yaml").build({"units": 4}, None) == gives


def test_a_builder_from_a_file_reaches_a_process_that_cannot_import_it(write: Write) -> None:
    write(BUILDERS, "builders.py")
    path = write(MLP_FILE.replace("search_spaces.mlp:build", "builders.py:build"))
    pickled = cloudpickle.dumps(find_space(str(path)).build)
    program = "import sys, cloudpickle; print(cloudpickle.load(sys.stdin.buffer)({'units': 4}, None))"
    done = subprocess.run([sys.executable, "-c", program], input=pickled, cwd=os.sep, capture_output=True, check=True)
    assert done.stdout.strip() == b"8"


@pytest.mark.parametrize("reference", ["mlp", "search_spaces.mlp:build", "search_spaces.mlp:space"])
def test_a_builder_is_a_function_or_that_of_a_space(reference: str, write: Write) -> None:
    write(MLP_FILE.replace("search_spaces.mlp:build", reference))
    assert find_space("space.yaml").build is mlp_build


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("mlpp", "unknown builder 'mlpp'; did you mean 'mlp'?"),
        ("mlp+linaer", "unknown builder 'linaer'; did you mean 'linear'?"),
        ("mlp+mlp", "names 'mlp' twice"),
        ("space.yaml", "unknown builder 'space.yaml'; known: cnn"),
        ("builders.py", "or module:function, or file.py:function"),
        ("':build'", "unknown builder ':build'"),
        ("nowhere.py:build", "no such file: "),
        ("broken.py:build", "ZeroDivisionError: division by zero"),
        ("nowhere:build", "cannot import module 'nowhere'"),
        ("search_spaces.mlp:biuld", "unknown builder in search_spaces.mlp 'biuld'; did you mean 'build'?"),
        ("builders.py:number", "'builders.py:number' is no function of (config, spec), and no space: "),
        ("builders.py:lonely", "'builders.py:lonely' is no function of (config, spec), and no space: "),
        ("builders.py:Builder", "'builders.py:Builder' is no function of (config, spec), and no space: "),
        ("3", "builder is text, received '3'"),
        ("[mlp]", "builder takes a single value, received a list"),
        ("", "builder is text, received nothing"),
        ("''", "unknown builder ''"),
    ],
)
def test_what_is_no_builder_is_refused(reference: str, says: str, write: Write) -> None:
    write(BUILDERS, "builders.py")
    write("1 / 0", "broken.py")
    said = refused(write(MLP_FILE.replace("search_spaces.mlp:build", reference)))
    assert f"{Path('space.yaml').resolve()}, line 2: " in said
    assert says in said


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the file is empty: a space has the keys name, builder, parameters"),
        ("# nothing\n", 1, "the file is empty"),
        ("- name: a\n", 1, "a space is a mapping such as {key: value}, received a list"),
        ("mlp\n", 1, "a space is a mapping such as {key: value}, received 'mlp'"),
        ("!!omap {name: a}\n", 1, "received a mapping with the tag"),
        ("name: a\nbulder: mlp\n", 2, "unknown key of a space 'bulder'; did you mean 'builder'?"),
        ("name: a\nbuilder: mlp\n", 1, "a space lacks parameters: it takes name, builder, parameters"),
        ("# mine\nname: a\n", 2, "a space lacks builder and parameters"),
        ("name: a\nbuilder: mlp\nname: b\nparameters: []\n", 3, "a space has the key 'name' twice"),
        ("builder: mlp\nname: my mlp\nparameters: []\n", 2, "a space's name has letters, digits"),
        ("builder: mlp\nname: 3\nparameters: []\n", 2, "name is text, received '3'"),
        ("name: a\nbuilder: mlp\nparameters: {int: units}\n", 3, "parameters takes a list such as [a, b]"),
        ("name: a\nbuilder: mlp\nparameters:\n", 3, "parameters takes a list such as [a, b], received nothing"),
        ("name: a\n[b]: c\n", 2, "a key takes a single value, received a list"),
        ("name: a\nnull: c\n", 2, "a key is text, received 'null'"),
        ("name: a\n3: c\n", 2, "a key is text, received '3'"),
        ("name: a\nbuilder: [mlp\nparameters: []\n", 3, "this is no YAML: while parsing a flow sequence"),
        ("name: a\n\tbuilder: mlp\n", 2, "this is no YAML: while scanning"),
        ("name: *a\n", 1, "this is no YAML: found undefined alias 'a'"),
        ("name: a\n---\nname: b\n", 2, "this is no YAML: expected a single document"),
        ("name: a\nbuilder: \x07\n", 2, "this is no YAML: special characters are not allowed"),
        ('name: "\\UFFFFFFFF"\n', 1, "this is no YAML"),
        ("[" * 1000, 1, "nested too deeply"),
        ("name: !!python/name:os.system\n", 1, "lacks builder"),
    ],
)
def test_what_is_no_space_is_refused(text: str, line: int, says: str, write: Write) -> None:
    write(text)
    said = refused("space.yaml")
    assert said.startswith(f"space.yaml, line {line}: ")
    assert says in said


@pytest.mark.parametrize(
    ("parameter", "line", "says"),
    [
        ("  - units", 4, "a parameter is a mapping such as {key: value}, received 'units'"),
        ("  - {itn: units, low: 1, high: 2}", 4, "received itn, low, high; did you mean 'int'?"),
        ("  - {low: 1, high: 2}", 4, "has one of the keys int, float, choice, repeat for its name, received low, high"),
        ("  - {}", 4, "received nothing"),
        ("  - int: a\n    float: b\n", 4, "a parameter has one kind, received int and float"),
        ("  - {int: a, low: 1, hihg: 2}", 4, "unknown key of a parameter of kind int 'hihg'; did you mean 'high'?"),
        ("  - int: a\n    low: 1\n    hihg: 2", 6, "did you mean 'high'?"),
        ("  - {int: a, low: 1, high: 2, values: [3]}", 4, "unknown key of a parameter of kind int 'values'"),
        ("  - {choice: a, values: [3], low: 3}", 4, "unknown key of a parameter of kind choice 'low'"),
        ("  - {<<: a, int: b, low: 1, high: 2}", 4, "unknown key of a parameter of kind int '<<'"),
        ("  - {int: a, low: 1}", 4, "lacks high: it takes int, low, high, log, step, default, when"),
        ("  - {int: a}", 4, "lacks low and high"),
        ("  - {choice: a}", 4, "lacks values"),
        ("  - {repeat: a, low: 1, high: 2}", 4, "lacks parameters"),
        ("  - int: a\n    low: 1\n    low: 2\n    high: 3", 6, "has the key 'low' twice"),
        ("  - {int: 3, low: 1, high: 2}", 4, "int is text, received '3'"),
        ("  - {int: my units, low: 1, high: 2}", 4, "a parameter's name is an identifier such as"),
        ("  - {int: a, low: one, high: 2}", 4, "Int 'a': low is a whole number, not 'one'"),
        ("  - {int: a, low: 1.5, high: 2}", 4, "Int 'a': low is a whole number, not 1.5"),
        ("  - {int: a, low: 010, high: 20}", 4, "Int 'a': low is a whole number, not '010'"),
        ("  - {int: a, low: [1], high: 2}", 4, "low takes a single value, received a list"),
        ("  - {int: a, low: 3, high: 2}", 4, "Int 'a': low must be at most high, received 3 and 2"),
        ("  - {int: a, low: 0, high: 2, log: true}", 4, "log=True needs low above 0"),
        ("  - int: a\n    low: 1\n    high: 2\n    log: yes", 7, "log takes true or false, received 'yes'"),
        ("  - {int: a, low: 1, high: 2, default: 3}", 4, "default 3 lies outside 1..2"),
        ("  - {float: a, low: 0, high: 1, step: -1}", 4, "step must be above 0"),
        ("  - {float: a, low: 0, high: .inf}", 4, "low must be at most high"),
        ("  - {float: a, low: 0, high: 1" + "0" * 400 + "}", 4, "too large"),
        ("  - {int: a, low: 0, high: 1" + "0" * 400 + "}", 4, "too large"),
        ("  - {int: a, low: 0, high: 1" + "0" * 5000 + "}", 4, "high: Exceeds the limit"),
        ("  - {int: a, low: !!float 1, high: 2}", 4, "low takes text, a number, true, false or null, received the tag"),
        (
            "  - {choice: a, values: [!!python/name:os.system x]}",
            4,
            "a value takes text, a number, true, false or null",
        ),
        ("  - {choice: a, values: relu}", 4, "values takes a list such as [a, b], received 'relu'"),
        ("  - {choice: a, values: !!set {relu}}", 4, "values takes a list such as [a, b], received a mapping"),
        ("  - {choice: a, values: []}", 4, "Choice 'a' takes a list of at least one value"),
        ("  - {choice: a, values: [x, x]}", 4, "Choice 'a' lists a value twice"),
        ("  - choice: a\n    values:\n      - x\n      - [y]", 7, "a value takes a single value, received a list"),
        ("  - {choice: a, values: [x], default: y}", 4, "default 'y' is not among ['x']"),
        ("  - &a {choice: a, values: [x]}\n  - *a", 4, "uses the name 'a' twice"),
        ("  - &a [*a]", 4, "received a list"),
        ("  - {choice: a, values: [x]}\n  - {choice: a, values: [y]}", 5, "uses the name 'a' twice"),
        ("  - {int: a, low: 1, high: 2, when: b}", 4, "when is a mapping such as {key: value}, received 'b'"),
        ("  - {int: a, low: 1, high: 2, when: {b: c}}", 4, "b takes a list such as [a, b], received 'c'"),
        ("  - {int: a, low: 1, high: 2, when: {b: []}}", 4, "takes a list of values"),
        ("  - {int: a, low: 1, high: 2}\n  - {int: b, low: 1, high: 2, when: {aa: [1]}}", 5, "'b' depends on 'aa'"),
        ("  - {int: a, low: 1, high: 2}\n  - {int: b, low: 1, high: 2, when: {a: [3]}}", 5, "takes 1..2, received 3"),
        ("  - {repeat: a, low: 3, high: 2, parameters: []}", 4, "needs 0 <= low <= high"),
        ("  - {repeat: a, low: 1, high: 2, default: two, parameters: []}", 4, "default 'two' lies outside 1..2"),
        ("  - {repeat: a, low: 1, high: 2, parameters: 3}", 4, "parameters takes a list"),
    ],
)
def test_a_wrong_parameter_is_refused(parameter: str, line: int, says: str, write: Write) -> None:
    write(one_parameter(parameter))
    said = refused("space.yaml")
    assert said.startswith(f"space.yaml, line {line}: ")
    assert says in said


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("{int: units, low: 3, high: 2}", "Int 'units': low must be at most high"),
        ("{repeat: units, low: 3, high: 2, parameters: []}", "has one of the keys int, float, choice for its name"),
        ("{int: units, low: 1, high: 2, when: {hiden: [1]}}", "'units' depends on 'hiden'"),
        ("{int: rate, low: 1, high: 2}", "uses a name twice"),
    ],
)
def test_a_wrong_parameter_of_an_item_is_refused_on_its_own_line(item: str, says: str, write: Write) -> None:
    write(
        one_parameter(
            f"""\
  - repeat: hidden
    low: 1
    high: 2
    parameters:
      - {{float: rate, low: 0, high: 1, when: {{hidden: [2]}}}}
      - {item}
"""
        )
    )
    said = refused("space.yaml")
    assert said.startswith("space.yaml, line 9: ")
    assert says in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("nowhere.yaml") == "no such file: nowhere.yaml"
    (tmp_path / "folder.yml").mkdir()
    assert refused("folder.yml") == "cannot read folder.yml: Is a directory"
    (tmp_path / "latin.yaml").write_bytes("name: a\nbuilder: caf\xe9\n".encode("latin-1"))
    assert refused("latin.yaml") == "latin.yaml, line 2: this is no UTF-8: save the file as UTF-8"


def read_back(space: SearchSpace, write: Write) -> SearchSpace:
    """Return what a space's own file gives, after checking that nothing about it has changed."""
    write(to_yaml(space), "back/space.yaml")
    back = find_space("back/space.yaml")
    assert back == space
    assert back.fingerprint() == space.fingerprint()
    assert back.default_config() == space.default_config()
    assert to_yaml(back) == to_yaml(space)
    return back


@pytest.mark.parametrize("name", list(known_spaces()))
def test_an_installed_space_comes_back_from_its_file(name: str, write: Write) -> None:
    space = find_space(name)
    assert read_back(space, write).build == space.build


def test_a_union_comes_back_from_its_file(write: Write) -> None:
    for union in (find_space("cnn+resnet"), auto_space(make_spec(image_input(28, 28, 1), outputs=()))):
        assert read_back(union, write).build == union.build
    assert read_back(auto_space(make_spec(numeric_input(3), outputs=())), write).source.endswith("space.yaml")


def test_a_narrowed_space_comes_back_from_its_file(write: Write) -> None:
    space = find_space("mlp").narrow({"units": (32, 64), "optimizer": "adam", "batch_size": [32, 64], "hidden": 2})
    assert "momentum" not in space.leaves()
    assert read_back(space, write).build is mlp_build


def test_a_space_of_a_python_file_comes_back_from_a_file_elsewhere(write: Write) -> None:
    write(BUILDERS, "builders.py")
    assert read_back(find_space("builders.py"), write).build({"units": 4}, None) == 12
    write(MLP_FILE.replace("search_spaces.mlp:build", "builders.py:build"))
    assert read_back(find_space("space.yaml"), write).build({"units": 4}, None) == 8


def test_awkward_values_come_back(write: Write) -> None:
    values = [
        None,
        True,
        "true",
        "null",
        "~",
        "",
        "5",
        5,
        "1e-3",
        1e-7,
        1e300,
        ".inf",
        "on",
        "- a",
        "a: b",
        "é\n #",
        "[",
        "'",
        '"',
    ]
    parameters: list[Parameter] = [
        Choice("odd", values, default=None),
        Int("stepped", -7, 21, step=7, when={"odd": ["5", True, None]}),
        Float("rate", 1e-12, 0.1 + 0.2, log=True, default=1 / 3e5),
        Repeat("layers", 0, 2, [], default=0, when={"stepped": [0, 7]}),
        Repeat("blocks", 0, 2, [Float("drop", 0.1, 0.7, step=0.2, when={"blocks": [2]})]),
    ]
    read_back(SearchSpace("odd_one-2", parameters, mlp_build), write)


def test_a_builder_without_a_source_is_written_by_its_name(write: Write) -> None:
    assert "builder: search_spaces.mlp:build\n" in to_yaml(SearchSpace("mine", [], mlp_build))
    path = write(BUILDERS, "builders.py")
    assert "builder: builtins:print\n" in to_yaml(SearchSpace("mine", [], print))
    build = find_space(str(write(MLP_FILE.replace("search_spaces.mlp:build", "builders.py:build")))).build
    assert f"builder: {path}:build\n" in to_yaml(SearchSpace("mine", [], build))


@pytest.mark.parametrize("build", [lambda config, spec: None, partial(mlp_build), mlp_build.__get__(object)])
def test_a_builder_without_a_name_is_refused(build: Callable[..., None]) -> None:
    with pytest.raises(SpaceError, match="the builder of space 'mine' has no name that could be imported: write it"):
        to_yaml(SearchSpace("mine", [], build))
