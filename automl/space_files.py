"""Search spaces as YAML files: `load_space` reads one, `dump_space` writes one. Who the builder is, the caller finds.

A file has a `name`, a `builder` and `parameters`; a parameter is a mapping such as
`{int: units, low: 16, high: 512, log: true}`. Scalars are those of YAML 1.2: `1e-3` is a number, and `on`, `no` and
`2:30` are text.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import yaml

from automl.errors import RequestError, SpaceError, UnknownNameError
from automl.parameters import Choice, Float, Int, Parameter, Repeat, Scalar
from automl.search_space import Build, SearchSpace

FindBuilder = Callable[[str], Build]

_KINDS: Mapping[str, type[Parameter]] = {"int": Int, "float": Float, "choice": Choice, "repeat": Repeat}
_ITEM_KINDS: Mapping[str, type[Parameter]] = {"int": Int, "float": Float, "choice": Choice}
_SPACE_KEYS = ("name", "builder", "parameters")
_TEXT, _SEQUENCE, _MAPPING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))

_SCALARS = (  # kind, what it looks like, what it starts with
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
)


class _Loader(yaml.SafeLoader):
    """Plain data only, with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text, and writes a list out wherever it stands."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: no anchors."""
        return True


class _OneLine(dict[str, Any]):
    """A mapping that is written in one line, as `{int: units, low: 16, high: 512}`."""


for _scalar_kind, _pattern, _starts in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_scalar_kind}", re.compile(rf"(?:{_pattern})\Z"), _starts)
_Dumper.add_representer(_OneLine, lambda dumper, data: dumper.represent_mapping(_MAPPING, data, flow_style=True))


def load_space(path: Path, find_builder: FindBuilder) -> SearchSpace:
    """Read a search space from a YAML file; its source is the file's absolute path.

    Args:
        path: The file.
        find_builder: Finds the builder by what the file has for it.

    Raises:
        SpaceError: The file cannot be read or is not a valid space; the message names the file and the line.
    """
    top = _read(path)
    reference = _text(top["builder"], "builder")
    with _blaming(top["builder"]):
        build = find_builder(reference)
    name = _text(top["name"], "name")
    with _blaming(top["name"]):
        space = SearchSpace(name, [], build, str(path.resolve()))
    for node in _list(top["parameters"], "parameters"):
        space = _longer(space, node)
    return space


def builder_text(path: Path) -> str:
    """Return what a YAML file has for its builder.

    Raises:
        SpaceError: The file cannot be read, or has no builder.
    """
    return _text(_read(path)["builder"], "builder")


def dump_space(space: SearchSpace, builder: str) -> str:
    """Return the text of a YAML file that `load_space` reads as an equal space, given its builder's reference."""
    content = {"name": space.name, "builder": builder, "parameters": [_as_plain(one) for one in space.parameters]}
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


def _read(path: Path) -> dict[str, yaml.Node]:
    """Return the nodes of a file's three keys."""
    text = _decoded(path)
    try:
        loader = _Loader(text)
        loader.name = str(path)  # every node remembers it
        top = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise _wrong_line(path, mark.line + 1 if mark else 1, f"this is no YAML: {said}") from error
    except yaml.reader.ReaderError as error:
        raise _wrong_line(path, text.count("\n", 0, error.position) + 1, f"this is no YAML: {error.reason}") from error
    except (ValueError, OverflowError) as error:
        raise _wrong_line(path, 1, f"this is no YAML: {error}") from error
    except RecursionError as error:
        raise _wrong_line(path, 1, "this is no search space: it is nested too deeply") from error
    if top is None:
        raise _wrong_line(path, 1, f"the file is empty: a space has the keys {', '.join(_SPACE_KEYS)}")
    return _mapping(top, "a space", known=_SPACE_KEYS, required=_SPACE_KEYS)


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise SpaceError(f"no such file: {path}") from error
    except OSError as error:
        raise SpaceError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _wrong_line(path, line, "this is no UTF-8: save the file as UTF-8") from error


def _longer(space: SearchSpace, node: yaml.Node) -> SearchSpace:
    """Return a space with one more parameter."""
    longer = space
    for line, parameter in _growing(node):
        with _blaming(line):
            longer = replace(space, parameters=[*space.parameters, parameter])
    return longer


def _growing(node: yaml.Node) -> Iterator[tuple[yaml.Node, Parameter]]:
    """Yield a parameter as it grows item by item, so that an error is found on its own line."""
    parameter, item_nodes = _parameter(node, _KINDS)
    yield node, parameter
    growing: Any = parameter  # a Repeat, where there are items
    for item_node in item_nodes:
        item, _ = _parameter(item_node, _ITEM_KINDS)
        with _blaming(item_node):
            growing = replace(growing, parameters=[*growing.parameters, item])
        yield item_node, growing


def _parameter(node: yaml.Node, kinds: Mapping[str, type[Parameter]]) -> tuple[Parameter, list[yaml.Node]]:
    """Return a parameter, without its items' parameters, and the nodes of those."""
    kind = _kind(node, kinds)
    options = {one.name: one for one in fields(kinds[kind])[1:]}
    required = [name for name, one in options.items() if one.default is one.default_factory is MISSING]
    nodes = _mapping(node, f"a parameter of kind {kind}", known=[kind, *options], required=required)
    name = _text(nodes.pop(kind), kind)
    items = _list(nodes["parameters"], "parameters") if "parameters" in nodes else []
    values = {key: [] if key == "parameters" else _value(key, one) for key, one in nodes.items()}
    with _blaming(node):
        return kinds[kind](name, **values), items


def _kind(node: yaml.Node, kinds: Mapping[str, type[Parameter]]) -> str:
    """Return the one key of a mapping that says what kind of parameter it is."""
    keys = _mapping(node, "a parameter")
    found = [key for key in keys if key in kinds]
    if len(found) == 1:
        return found[0]
    if found:
        raise _wrong(node, f"a parameter has one kind, received {' and '.join(found)}: start a new one with '-'")
    nearest = [guess for key in keys for guess in difflib.get_close_matches(key, kinds, n=1)]
    guess = f"; did you mean {nearest[0]!r}?" if nearest else ""
    received = ", ".join(keys) or "nothing"
    raise _wrong(node, f"a parameter has one of the keys {', '.join(kinds)} for its name, received {received}{guess}")


def _value(key: str, node: yaml.Node) -> Any:
    """Return what a parameter's key has."""
    if key == "when":
        return {
            name: [_scalar(one, name) for one in _list(values, name)] for name, values in _mapping(node, key).items()
        }
    if key == "values":
        return [_scalar(one, "a value") for one in _list(node, key)]
    value = _scalar(node, key)
    if key == "log" and not isinstance(value, bool):
        raise _wrong(node, f"log takes true or false, received {value!r}")
    return value


def _mapping(
    node: yaml.Node, what: str, *, known: Sequence[str] | None = None, required: Sequence[str] = ()
) -> dict[str, yaml.Node]:
    """Return a mapping's values by key."""
    if not isinstance(node, yaml.MappingNode) or node.tag != _MAPPING:
        raise _wrong(node, f"{what} is a mapping such as {{key: value}}, received {_described(node)}")
    found: dict[str, yaml.Node] = {}
    for key_node, value_node in node.value:
        key = _text(key_node, "a key")
        if key in found:
            raise _wrong(key_node, f"{what} has the key {key!r} twice")
        if known is not None and key not in known:
            raise _wrong(key_node, str(UnknownNameError(f"key of {what}", key, known)))
        found[key] = value_node
    missing = [key for key in required if key not in found]
    if missing:
        raise _wrong(node, f"{what} lacks {' and '.join(missing)}: it takes {', '.join(known or required)}")
    return found


def _list(node: yaml.Node, what: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or node.tag != _SEQUENCE:
        raise _wrong(node, f"{what} takes a list such as [a, b], received {_described(node)}")
    return list(node.value)


def _text(node: yaml.Node, what: str) -> str:
    value = _scalar(node, what)
    if not isinstance(value, str):
        raise _wrong(node, f"{what} is text, received {_described(node)}")
    return value


def _scalar(node: yaml.Node, what: str) -> Scalar:
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, f"{what} takes a single value, received {_described(node)}")
    loader: Any = _Loader("")
    if node.tag not in (_TEXT, loader.resolve(yaml.ScalarNode, node.value, (True, False))):
        raise _wrong(node, f"{what} takes text, a number, true, false or null, received the tag {node.tag!r}")
    try:
        value: Scalar = loader.construct_object(node)
    except ValueError as error:  # thousands of digits
        raise _wrong(node, f"{what}: {error}") from error
    return value


def _described(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.value else "nothing"
    kind = "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
    return kind if node.tag in (_MAPPING, _SEQUENCE) else f"{kind} with the tag {node.tag!r}"


@contextmanager
def _blaming(node: yaml.Node) -> Iterator[None]:
    """Put file and line in front of an error."""
    try:
        yield
    except (RequestError, ArithmeticError) as error:  # a number can be too large for a float
        raise _wrong(node, str(error)) from error


def _wrong(node: yaml.Node, message: str) -> SpaceError:
    return _wrong_line(node.start_mark.name, node.start_mark.line + 1, message)


def _wrong_line(path: Path | str, line: int, message: str) -> SpaceError:
    return SpaceError(f"{path}, line {line}: {' '.join(message.split())}")


def _as_plain(parameter: Parameter) -> dict[str, Any]:
    plain: dict[str, Any] = {type(parameter).__name__.lower(): parameter.name}
    for one in fields(parameter)[1:]:
        if one.name == "parameters":
            continue  # they come last
        value = getattr(parameter, one.name)
        if one.name == "values":
            value = list(value)
        if one.name == "when":
            value = _OneLine({name: list(values) for name, values in value.items()})
        if one.name == "default" or value not in (one.default, {}):
            plain[one.name] = value
    if not isinstance(parameter, Repeat):
        return _OneLine(plain)
    return {**plain, "parameters": [_as_plain(one) for one in parameter.parameters]}
