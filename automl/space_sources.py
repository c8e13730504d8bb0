"""Where search spaces come from: an entry point's name, `module:attribute`, or `file.py[:attribute]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from automl.dataset_spec import DatasetSpec, InputKind
from automl.errors import SpaceError, UnknownNameError
from automl.importing import import_file, import_module
from automl.keras_tuner_spaces import read_reference
from automl.search_space import SearchSpace

AUTO = "auto"
"""Reference of the union of the spaces that suit a dataset; see `auto_space`."""

_GROUP = "automl.search_spaces"
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
    """Return the union of the spaces that suit a dataset, called `auto`; the most promising one comes first."""
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
            `file.py:attribute`, or `file.py` where the attribute is called `space`. The attribute is a
            `SearchSpace`, or a KerasTuner hypermodel: an instance or subclass of `HyperModel`, or `build(hp)`.

    Raises:
        UnknownNameError: No installed space has that name.
        SpaceError: The module or file cannot be imported, or has no such space.

    Example:
        >>> find_space("mlp").name
        'mlp'
    """
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
        raise UnknownNameError("search space", reference, known, also="or module:attribute, or file.py:attribute")
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
