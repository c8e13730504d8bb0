"""A functional model as Python code, layer by layer, from its public config."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automl.handover.expressions import CannotWriteError, Writer, snake_case, text

_TENSOR = "__keras_tensor__"
_RESERVED = {"keras", "np", "x", "inputs", "outputs", "network", "encoded"}
_MODELS = ("Functional", "Model", "Sequential")


@dataclass
class Call:
    """One call of a layer or an operation.

    Attributes:
        layer: Name of the layer.
        node: Which of its calls.
        arguments: The node of the config: `args` and `kwargs`.
        sources: The calls whose tensors it takes.
    """

    layer: str
    node: int
    arguments: Mapping[str, Any]
    sources: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Code:
    """A model as code.

    Attributes:
        functions: Functions that build nested models, in the order in which they are needed.
        lines: Statements that make the tensors.
        inputs: Expression of the model's inputs.
        outputs: Expression of the model's outputs.
    """

    functions: tuple[str, ...]
    lines: tuple[str, ...]
    inputs: str
    outputs: str


class ModelWriter:
    """Writes one functional model."""

    def __init__(self, model: Any, writer: Writer) -> None:
        """Read the model's config.

        Raises:
            CannotWriteError: The model is not functional.
        """
        config = model.get_config()
        if "input_layers" not in config:
            raise CannotWriteError(f"{type(model).__name__} {model.name!r} is no functional model")
        nested = {one["name"] for one in config["layers"] if one["class_name"] in ("Functional", "Model")}
        self._inputs = _with_plain_nodes(config["input_layers"], nested)
        self._outputs = _with_plain_nodes(config["output_layers"], nested)
        self._model, self._writer = model, writer
        self._operations = {one.name: one for one in model.operations}
        self._layers = {one["name"]: one for one in config["layers"]}
        self._calls = _ordered(config)
        self._names: dict[tuple[str, int], str] = {}
        self._shared: set[str] = set()
        self._functions: list[str] = []

    def whole(self) -> Code:
        """Return the code of the whole model."""
        lines = self.statements(self._calls)
        return Code(
            functions=tuple(self._functions),
            lines=tuple(lines),
            inputs=self.tensors(self._inputs),
            outputs=self.tensors(self._outputs),
        )

    def around(self, network: str) -> tuple[Code, Code]:
        """Return what stands before a nested model, and what stands behind it.

        Args:
            network: Name of the nested model; the second code reads the variable `outputs`, what it gave.
        """
        at = next(call for call in self._calls if call.layer == network)
        behind = _dependents(self._calls, (network, at.node))
        before = self.statements([call for call in self._calls if call is not at and call not in behind])
        encoded = self._arguments(at)
        inputs = self.tensors(self._inputs)
        self._names[network, at.node] = "outputs"
        after = self.statements(behind)
        given = self.tensors(self._outputs)
        functions = tuple(self._functions)
        first = Code(functions=functions, lines=tuple(before), inputs=inputs, outputs=encoded)
        return first, Code(functions=(), lines=tuple(after), inputs="", outputs=given)

    def statements(self, calls: Sequence[Call]) -> list[str]:
        """Return one statement a call; a tensor that only the next statement reads is called `x`."""
        kept = {(name, node) for name, node, _ in _histories(self._outputs)}
        kept |= {(name, node) for name, node, _ in _histories(self._inputs)}
        lines: list[str] = []
        for index, call in enumerate(calls):
            readers = [other for other in self._calls if (call.layer, call.node) in other.sources]
            following = calls[index + 1] if index + 1 < len(calls) else None
            is_passing = readers == [following] and (call.layer, call.node) not in kept
            name = "x" if is_passing and not self._is_input(call) else self._name(call)
            lines += self._statement(call, name)
            self._names[call.layer, call.node] = name
        return lines

    def tensors(self, structure: Any) -> str:
        """Return the expression of the inputs or outputs of a config."""
        if _is_history(structure):
            return self._tensor(structure)
        if isinstance(structure, Mapping):
            return f"{{{', '.join(f'{text(key)}: {self.tensors(one)}' for key, one in structure.items())}}}"
        parts = [self.tensors(one) for one in structure]
        return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"

    def _statement(self, call: Call, name: str) -> list[str]:
        layer = self._layers[call.layer]
        if self._is_input(call):
            return [f"{name} = {_input(layer['config'])}"]
        if "build_config" not in layer and ".ops" in (layer["module"] or ""):
            return [f"{name} = {self._operation(layer, call)}"]
        if self._uses(call.layer) > 1:
            made = f"{self._identifier(call.layer)}_layer"
            first = [] if call.layer in self._shared else [f"{made} = {self._made(layer)}"]
            self._shared.add(call.layer)
            return [*first, f"{name} = {made}({self._arguments(call)})"]
        return [f"{name} = {self._made(layer)}({self._arguments(call)})"]

    def _made(self, layer: Mapping[str, Any]) -> str:
        before = self._writer.every_name
        self._writer.every_name = before or is_partly_frozen(self._operations[layer["name"]])
        try:
            return self._made_of(layer)
        finally:
            self._writer.every_name = before

    def _made_of(self, layer: Mapping[str, Any]) -> str:
        if layer["class_name"] not in _MODELS:
            return self._writer.made(layer, name=layer["name"])
        nested = self._model.get_layer(layer["name"])
        function = f"build_{self._identifier(layer['name'])}"
        if layer["class_name"] == "Sequential":
            self._functions.append(_sequential(function, nested, self._writer))
        else:
            code = ModelWriter(nested, self._writer).whole()
            self._functions += [*code.functions, as_function(function, code, name=nested.name)]
        return f"{function}()"

    def _operation(self, layer: Mapping[str, Any], call: Call) -> str:
        import keras

        positional = [self._writer.value(one, self._tensor) for one in call.arguments["args"]]
        if layer["class_name"] == "GetItem":
            return f"{positional[0]}[{_subscript(call.arguments['args'][1], positional[1])}]"
        function = snake_case(layer["class_name"])
        if not hasattr(keras.ops, function):
            raise CannotWriteError(f"operation {layer['class_name']} has no function in keras.ops")
        known = inspect.signature(getattr(keras.ops, function)).parameters
        settings = {key: value for key, value in layer["config"].items() if key in known and key != "name"}
        settings = {key: value for key, value in settings.items() if value != known[key].default}
        named = {**settings, **call.arguments["kwargs"]}
        arguments = [*positional, *(f"{key}={self._writer.value(one, self._tensor)}" for key, one in named.items())]
        return f"keras.ops.{function}({', '.join(arguments)})"

    def _arguments(self, call: Call) -> str:
        positional = [self._writer.value(one, self._tensor) for one in call.arguments["args"]]
        kwargs = call.arguments["kwargs"].items()
        named = {key: one for key, one in kwargs if key != "training" and not _is_empty(one)}  # Keras notes the mode
        return ", ".join(
            [*positional, *(f"{key}={self._writer.value(one, self._tensor)}" for key, one in named.items())]
        )

    def _tensor(self, history: Sequence[Any]) -> str:
        layer, node, index = history
        name = self._names[layer, node]
        if self._uses(layer) > 1:
            return name if index == 0 else f"{name}[{index}]"
        output = self._operations[layer].output
        if isinstance(output, Mapping):
            import keras

            wanted = keras.tree.flatten(output)[index]
            return f"{name}[{text(next(key for key, one in output.items() if one is wanted))}]"
        return f"{name}[{index}]" if isinstance(output, list | tuple) and len(output) > 1 else name

    def _uses(self, layer: str) -> int:
        return sum(call.layer == layer for call in self._calls)

    def _is_input(self, call: Call) -> bool:
        return bool(self._layers[call.layer]["class_name"] == "InputLayer")

    def _name(self, call: Call) -> str:
        return self._identifier(call.layer) + (f"_{call.node}" if call.node else "")

    def _identifier(self, name: str) -> str:
        found = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not found.isidentifier() or keyword.iskeyword(found) or found in _RESERVED or hasattr(builtins, found):
            found = f"{'_' if found[:1].isdigit() else ''}{found}_"
        return found


def is_partly_frozen(layer: Any) -> bool:
    """Return True where a layer, or one inside it, has weights that are not trained: they came from elsewhere."""
    parts = getattr(layer, "layers", None)
    return any(map(is_partly_frozen, parts)) if parts else not layer.trainable and bool(layer.weights)


def as_function(function: str, code: Code, *, name: str) -> str:
    """Return a function of no arguments that builds a model."""
    body = [*code.lines, f"return keras.Model({code.inputs}, {code.outputs}, name={text(name)})"]
    return "\n".join([f"def {function}():", *(f"    {line}" for line in body)])


def _sequential(function: str, model: Any, writer: Writer) -> str:
    parts = [
        _input(layer["config"]) if layer["class_name"] == "InputLayer" else writer.made(layer)
        for layer in model.get_config()["layers"]
    ]
    body = [f"def {function}():", "    return keras.Sequential(", "        ["]
    return "\n".join(
        [*body, *(f"            {part}," for part in parts), f"        ], name={text(model.name)}", "    )"]
    )


def _input(config: Mapping[str, Any]) -> str:
    shape = tuple(config["batch_shape"][1:])
    dtype = "" if config["dtype"] == "float32" else f", dtype={text(config['dtype'])}"
    return f"keras.Input({shape!r}{dtype}, name={text(config['name'])})"


def _subscript(value: Any, written: str) -> str:
    """Return what stands between the brackets: slices as a person writes them."""
    parts = value if isinstance(value, list | tuple) else [value]
    if all(
        isinstance(one, int) or (isinstance(one, Mapping) and one.get("class_name") == "__slice__") for one in parts
    ):
        return ", ".join(str(one) if isinstance(one, int) else _slice(one["config"]) for one in parts)
    return written


def _is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, Mapping) and value.get("class_name") == kind


def _index(value: Any) -> str:
    if _is_kind(value, "__slice__"):
        return _slice(value["config"])
    return "..." if _is_kind(value, "__ellipsis__") else str(value)


def _slice(config: Mapping[str, Any]) -> str:
    start, stop, step = ("" if config[key] is None else str(config[key]) for key in ("start", "stop", "step"))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _ordered(config: Mapping[str, Any]) -> list[Call]:
    """Return every call after those whose tensors it takes, and otherwise in the order of the config."""
    waiting = []
    for layer in config["layers"]:
        nodes = layer["inbound_nodes"] or [{"args": [], "kwargs": {}}]
        for index, node in enumerate(nodes):
            sources = [(name, at) for name, at, _ in _histories([node["args"], node["kwargs"]])]
            waiting.append(Call(layer["name"], index, node, sources))
    calls: list[Call] = []
    done: set[tuple[str, int]] = set()
    while waiting:
        following = _next(waiting, done, calls)
        waiting.remove(following)
        calls.append(following)
        done.add((following.layer, following.node))
    return calls


def _with_plain_nodes(structure: Any, models: set[str]) -> Any:
    """Return a config's inputs or outputs with calls counted from 0: of nested models Keras counts the making, too."""
    if _is_history(structure):
        name, node, index = structure
        return [name, node - (name in models), index]
    if isinstance(structure, Mapping):
        return {key: _with_plain_nodes(one, models) for key, one in structure.items()}
    return [_with_plain_nodes(one, models) for one in structure]


def _next(waiting: list[Call], done: set[tuple[str, int]], calls: list[Call]) -> Call:
    """Return a call whose tensors are there; one that goes on from the last, if any, so that chains stay whole."""
    free = [call for call in waiting if all(source in done for source in call.sources)]
    if not free:
        raise CannotWriteError("the model's graph has calls that belong to another model")
    last = (calls[-1].layer, calls[-1].node) if calls else None
    inputs = [call for call in free if not call.sources]
    return inputs[0] if inputs else next((call for call in free if last in call.sources), free[0])


def _dependents(calls: Sequence[Call], source: tuple[str, int]) -> list[Call]:
    reached, found = {source}, []
    for call in calls:
        if reached & set(call.sources):
            reached.add((call.layer, call.node))
            found.append(call)
    return found


def _is_empty(value: Any) -> bool:
    """Return True for None, and for the lists of None that Keras passes as masks."""
    return value is None or (isinstance(value, list | tuple) and bool(value) and all(map(_is_empty, value)))


def _histories(structure: Any) -> list[Sequence[Any]]:
    """Return the Keras history of every tensor in a structure."""
    if _is_history(structure):
        return [structure]
    if isinstance(structure, Mapping):
        if structure.get("class_name") == _TENSOR:
            return [structure["config"]["keras_history"]]
        return [one for value in structure.values() for one in _histories(value)]
    if isinstance(structure, list | tuple):
        return [one for value in structure for one in _histories(value)]
    return []


def _is_history(structure: Any) -> bool:
    return (
        isinstance(structure, list | tuple)
        and len(structure) == 3
        and isinstance(structure[0], str)
        and all(type(one) is int for one in structure[1:])
    )
