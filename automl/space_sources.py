"""Where search spaces come from: an entry point's name, `module:attribute`, `file.py[:attribute]` or `file.yaml`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

from automl.dataset_spec import DatasetSpec, InputKind
from automl.errors import SpaceError, UnknownNameError
from automl.importing import import_file, import_module
from automl.keras_tuner_spaces import read_reference
from automl.search_space import Build, SearchSpace
from automl.space_files import builder_text, dump_space, load_space

AUTO = "auto"
"""Reference of the union of the spaces that suit a dataset; see `auto_space`."""

_GROUP = "automl.search_spaces"
_YAML = (".yaml", ".yml")
_SMALL_IMAGE = 28  # pixels a side up to which a grey image is worth a try without convolutions


def known_spaces() -> Mapping[str, EntryPoint]:
    """Return the installed spaces by name: the ready-made ones and those of other people's packages."""
    return {point.name: point for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name)}


def default_space(spec: DatasetSpec) -> str:
    """Return the name of the space that suits a dataset.

    `cnn` for images, `text` for text, `tabular` for tables with categories or text, `mlp` otherwise.
    """
    kinds = {one.kind for one in spec.inputs}
    if InputKind.IMAGE in kinds:
        return "cnn" if [one.kind for one in spec.inputs].count(InputKind.IMAGE) == 1 else "mlp"
    if kinds == {InputKind.TEXT}:
        return "text"
    return "tabular" if kinds & {InputKind.CATEGORICAL, InputKind.TEXT} else "mlp"


def auto_space(spec: DatasetSpec) -> SearchSpace:
    """Return the union of the spaces that suit a dataset, called `auto`; the most promising one comes first.

    Its `source` names the spaces, as in `cnn+resnet`, and finds it again without the dataset.

    Example:
        ```python
        auto_space(spec).narrow({"family": "resnet"})
        ```
    """
    return _union("+".join(_auto_families(spec)), name=AUTO)


def _auto_families(spec: DatasetSpec) -> list[str]:
    first = default_space(spec)
    if first == "cnn":
        image = next(one for one in spec.inputs if one.kind is InputKind.IMAGE)
        small = image.shape[-1] == 1 and max(image.shape[:2]) <= _SMALL_IMAGE
        return ["cnn", "resnet", "mlp"] if small else ["cnn", "resnet"]
    if first == "text":
        return ["text"]
    if first == "tabular":
        return ["tabular", "linear"]
    is_table = all(one.kind is InputKind.NUMERIC for one in spec.inputs)
    return ["mlp", "tabular", "linear"] if is_table else ["mlp", "linear"]


def _union(reference: str, *, name: str) -> SearchSpace:
    """Return the union of installed spaces; its source finds it again, whatever the dataset."""
    names = reference.split("+")
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise SpaceError(f"{reference!r} names {twice!r} twice: name each space once")
    families = {one: find_space(one) for one in names}
    if len(families) == 1:
        return replace(next(iter(families.values())), name=name)
    return SearchSpace.union(name, families, source=reference)


def find_space(reference: str) -> SearchSpace:
    """Find a space by its reference, and remember the reference in `SearchSpace.source`.

    Args:
        reference: An installed space's name, or several joined by `+` for their union; `module:attribute`;
            `file.py:attribute`, or `file.py` where the attribute is called `space`; `file.yaml`. The attribute is a
            `SearchSpace`, or a KerasTuner hypermodel: an instance or subclass of `HyperModel`, or `build(hp)`.

    Raises:
        UnknownNameError: No installed space has that name.
        SpaceError: The module or file cannot be imported or read, or has no such space.

    Example:
        >>> find_space("mlp").name
        'mlp'
    """
    if Path(reference).suffix in _YAML:
        return load_space(Path(reference), partial(_find_builder, folder=Path(reference).resolve().parent))
    head, colon, attribute = reference.rpartition(":")
    path = Path(head if colon and head.endswith(".py") else reference)
    if path.suffix == ".py":
        source = f"{path.resolve()}:{attribute if head.endswith('.py') else 'space'}"
        return _of_keras_tuner(source) or _attribute(import_file(path), source.rpartition(":")[2], source)
    if colon:
        return _of_keras_tuner(reference) or _attribute(import_module(head), attribute, reference)
    known = known_spaces()
    if "+" in reference:
        return _union(reference, name=reference.replace("+", "-"))
    if reference not in known:
        raise UnknownNameError(
            "search space", reference, known, also="or module:attribute, file.py:attribute, file.yaml"
        )
    return _attribute(import_module(known[reference].module), known[reference].attr, reference)


def _of_keras_tuner(reference: str) -> SearchSpace | None:
    """Return the space of a KerasTuner hypermodel, found in a child process; None for what is none."""
    found = read_reference(reference)
    if found is None:
        return None
    parameters, build = found
    return SearchSpace(reference.rpartition(":")[2], parameters, build, reference)


def _attribute(module: ModuleType, attribute: str, source: str) -> SearchSpace:
    spaces = {name for name, value in vars(module).items() if isinstance(value, SearchSpace)}
    if not hasattr(module, attribute):
        raise UnknownNameError(f"search space in {source.rpartition(':')[0] or module.__name__}", attribute, spaces)
    space = getattr(module, attribute)
    if not isinstance(space, SearchSpace):
        raise SpaceError(f"{source!r} is a {type(space).__name__}, not a SearchSpace")
    return replace(space, source=source)


def to_yaml(space: SearchSpace) -> str:
    """Return the text of a YAML file that `find_space` reads as an equal space, defaults and builder included.

    Raises:
        SpaceError: Nothing that can be written down leads to the builder.

    Example:
        >>> to_yaml(find_space("mlp")).splitlines()[:2]
        ['name: mlp', 'builder: mlp']
    """
    return dump_space(space, _builder_reference(space))


def _builder_reference(space: SearchSpace) -> str:
    """Return what a YAML file anywhere has for a space's builder."""
    source = Path(space.source)
    if source.suffix in _YAML:
        reference = builder_text(source)
        return str(source.parent / reference) if _is_in_file(reference) else reference
    if space.source:
        return space.source
    name, module_name = (getattr(space.build, one, None) or "" for one in ("__name__", "__module__"))
    module = sys.modules.get(module_name)
    if getattr(module, name, None) is not space.build or module_name == "__main__":
        raise SpaceError(
            f"the builder of space {space.name!r} has no name that could be imported: "
            "write it as a function of a module, or as a function of a file.py"
        )
    path = Path(getattr(module, "__file__", None) or "")
    is_package_module = path.suffix != ".py" or path.stem in ("__init__", module_name.rpartition(".")[2])
    return f"{module_name if is_package_module else path}:{name}"  # `import_file` gives a module another name


def _find_builder(reference: str, *, folder: Path) -> Build:
    """Return a builder: a function `module:function` or `file.py:function`, or that of a space of this reference."""
    head, _, attribute = reference.rpartition(":")
    if not head:
        missing = [name for name in reference.split("+") if name not in known_spaces()]
        if missing:
            also = "or module:function, or file.py:function"
            raise UnknownNameError("builder", missing[0], known_spaces(), also=also)
        return find_space(reference).build
    is_file = _is_in_file(reference)
    hypermodel = _of_keras_tuner(str(folder / reference) if is_file else reference)
    if hypermodel is not None:
        return hypermodel.build
    module = import_file(folder / head) if is_file else import_module(head)
    if not hasattr(module, attribute):
        raise UnknownNameError(f"builder in {head}", attribute, {name for name in vars(module) if name[0] != "_"})
    builder = getattr(module, attribute)
    if _is_builder(builder):
        return cast(Build, builder)
    try:
        return find_space(str(folder / reference) if is_file else reference).build
    except SpaceError as error:
        raise SpaceError(f"builder {reference!r} is no function of (config, spec), and no space: {error}") from error


def _is_builder(value: object) -> bool:
    """Return True for what can be called with a config and a `DatasetSpec`; a class makes no model."""
    if isinstance(value, type) or not callable(value):
        return False
    try:
        inspect.signature(value).bind({}, None)
    except (TypeError, ValueError):  # ValueError: it does not tell
        return False
    return True


def _is_in_file(reference: str) -> bool:
    return reference.rpartition(":")[0].endswith(".py")
