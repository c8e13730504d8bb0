"""Where datasets come from: built-in names, files, folders and other collections' clients.

`load` gives a `RawDataset`, not split or encoded. How each kind is read is said in a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.data.built_in import DatasetInfo, known_datasets, load_built_in
from automl.data.clients import CLIENTS, load_from_client
from automl.data.file_trees import FileTree
from automl.data.files import FILE_KINDS, check_given_once, check_path, hash_file, listing, read_npz
from automl.data.idx_files import has_idx, is_idx, load_idx
from automl.data.images import IMAGE_SUFFIXES, load_images
from automl.data.raw import GIVEN_SPLITS, Array, RawDataset, raw_from_arrays, whole_pairs
from automl.data.table_files import TABLE_SUFFIXES, open_table, table_suffix
from automl.data.tables import GivenTable, Roles, table_dataset
from automl.data.texts import TEXT_SUFFIXES, load_texts
from automl.errors import DataError, UnknownNameError

__all__ = ["SOURCE_KINDS", "DatasetInfo", "known_datasets", "load"]

SOURCE_KINDS = f"a built-in name, {', '.join(f'{client}:NAME' for client in CLIENTS)}, or a path to {FILE_KINDS}"
"""Everything that `load` takes, for errors and help."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    """The options of `load`."""

    target: str | Sequence[str] | None
    validation: str | None
    test: str | None
    encoding: str | None
    group: str | None
    time_column: str | None
    sample_weight: str | None
    strict: bool

    @property
    def given(self) -> dict[str, str]:
        """Return where splits lie that are given, by name."""
        sources = {split: getattr(self, split) for split in GIVEN_SPLITS}
        return {split: source for split, source in sources.items() if source is not None}

    def refuse(self, label: str, kind: str, *options: str) -> None:
        """Refuse options that mean nothing for a kind of source."""
        for option in options:
            value = getattr(self, option)
            if value not in (None, False):
                flag = f"--{option.replace('_', '-')}"
                raise DataError(f"{flag} does not go with {kind}, received {value!r} for {label!r}; leave it out")

    def roles(self, label: str, columns: Sequence[str]) -> Roles:
        """Return what a table's columns are for.

        Raises:
            DataError: No target is named.
        """
        if not self.target:
            raise DataError(
                f"{label}: which column is the target? give --target COLUMN, one of: {listing(tuple(columns))}"
            )
        return Roles.parse(
            self.target, group=self.group, time_column=self.time_column, sample_weight=self.sample_weight
        )


_TABLE_OPTIONS = ("target", "group", "time_column", "sample_weight")


def load(
    source: str,
    *,
    target: str | Sequence[str] | None = None,
    validation: str | None = None,
    test: str | None = None,
    encoding: str | None = None,
    group: str | None = None,
    time_column: str | None = None,
    sample_weight: str | None = None,
    strict: bool = False,
) -> RawDataset:
    """Load a dataset from a built-in name, a file, a folder, or another collection.

    Args:
        source: A name of `known_datasets()`, `openml:ID`, `tfds:NAME`, `hf:NAME`, or a path; a path's dataset is
            named by its stem. A table has a header line; an .npz file has `x_train` and `y_train`, and perhaps
            `x_validation`, `y_validation`, `x_test` and `y_test`; images and texts lie in a folder for each class,
            perhaps within `train`, `validation` and `test`.
        target: Names of the target columns of a table, an output each; one text may hold several with commas.
        validation: Path of the same kind whose rows validate. Of an .npz file these are `x_validation` and
            `y_validation` where it has them, otherwise `x_train` and `y_train`.
        test: The same for the rows that are the test split, in `x_test` and `y_test`.
        encoding: Encoding of text files; guessed if None.
        group: Column of a table whose equal values stay together in one split; no feature.
        time_column: Column of numbers or dates that splits are ordered by; it stays a feature.
        sample_weight: Column of weights of the rows in the training loss; no feature.
        strict: Refuse damaged images instead of skipping them.

    Raises:
        UnknownNameError: There is no such dataset, or no such column.
        DataError: The source is missing or malformed, or does not fit the other arguments.

    Example:
        >>> load("iris").train.count
        150
    """
    options = _Options(
        target=target,
        validation=validation,
        test=test,
        encoding=encoding,
        group=group,
        time_column=time_column,
        sample_weight=sample_weight,
        strict=strict,
    )
    if source in known_datasets():
        options.refuse(source, "a built-in dataset", *_TABLE_OPTIONS, *GIVEN_SPLITS, "encoding", "strict")
        return load_built_in(source)
    client, _, name = source.partition(":")
    if client in CLIENTS and name:
        options.refuse(source, f"{client}:NAME", *GIVEN_SPLITS, "encoding", "strict")
        return load_from_client(
            client, name, target=target, group=group, time_column=time_column, sample_weight=sample_weight
        )
    return _load_path(_as_path(source), options)


def _as_path(source: str) -> Path:
    path = Path(source).expanduser()
    looks_like_path = bool(path.suffix) or path.name != source or path.exists()
    if not source or not looks_like_path:
        raise UnknownNameError("dataset", source, known_datasets(), also=f"or a path to {FILE_KINDS}")
    check_path(path)
    return path


def _load_path(path: Path, options: _Options) -> RawDataset:
    given = _given_paths(options.given, path)
    if _is_idx_source(path):
        options.refuse(str(path), "IDX files", *_TABLE_OPTIONS, "encoding", "strict")
        return load_idx(path, given=given)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _load_tree(path, given, options)
    if path.suffix.lower() == ".npz":
        options.refuse(str(path), "an .npz file, only with tables", *_TABLE_OPTIONS)
        options.refuse(str(path), "an .npz file", "encoding", "strict")
        return _load_npz(path, given)
    if table_suffix(path) in TABLE_SUFFIXES:
        options.refuse(str(path), "a table", "strict")
        return _load_table(path, given, options)
    raise DataError(f"{path}: expected {FILE_KINDS}, received {path.suffix or 'no extension'}; convert it")


def _given_paths(given: Mapping[str, str], like: Path) -> dict[str, Path]:
    paths = {split: _as_given_path(split, source, like) for split, source in given.items()}
    _check_different(paths, like.resolve(), {split: path.resolve() for split, path in paths.items()})
    return paths


def _as_given_path(split: str, source: str, like: Path) -> Path:
    path = Path(source).expanduser()
    check_path(path)
    expected = _family(like)
    if _family(path) != expected:
        what = {"tree": "a folder or .zip of classes", "idx": "IDX files"}.get(
            expected, f"a {like.suffix.lower()} file"
        )
        raise DataError(f"--{split}: expected {what} like the training data, received {source!r}")
    return path


def _check_different(paths: Mapping[str, Path], train: object, keys: Mapping[str, object]) -> None:
    """Check that no two of the training data and the given splits have the same key."""
    seen = {train: "training"}
    for split, key in keys.items():
        if key in seen:
            raise DataError(
                f"--{split} {paths[split]} is the {seen[key]} file itself; expected other rows, or leave out --{split}"
            )
        seen[key] = split


def _family(path: Path) -> str:
    """What may stand in for another as a given split."""
    if _is_idx_source(path):
        return "idx"
    if path.is_dir() or path.suffix.lower() == ".zip":
        return "tree"
    return "table" if table_suffix(path) in TABLE_SUFFIXES else path.suffix.lower()


def _is_idx_source(path: Path) -> bool:
    return is_idx(path) if path.is_file() else has_idx(path)


def _load_tree(path: Path, given: Mapping[str, Path], options: _Options) -> RawDataset:
    options.refuse(str(path), "a folder or .zip of classes", *_TABLE_OPTIONS)
    tree = FileTree.open(path)
    trees = {split: FileTree.open(other) for split, other in given.items()}
    name = path.stem if path.is_file() else path.resolve().name
    if tree.with_suffix(IMAGE_SUFFIXES):
        options.refuse(str(path), "images", "encoding")
        return load_images(name, tree, given=trees, strict=options.strict)
    if tree.with_suffix(TEXT_SUFFIXES):
        options.refuse(str(path), "texts", "strict")
        return load_texts(name, tree, given=trees, encoding=options.encoding)
    raise DataError(
        f"{path}: expected a folder for each class with images ({', '.join(IMAGE_SUFFIXES)}) or texts (.txt), or the "
        f"IDX files of MNIST; found {len(tree.names)} other files"
    )


def _load_npz(path: Path, given: Mapping[str, Path]) -> RawDataset:
    arrays = read_npz(path)
    own = {split: _pair(arrays, split) for split in GIVEN_SPLITS if _has_split(arrays, split)}
    check_given_once(path, {split: f"x_{split}, y_{split}" for split in own}, given)
    others = {split: _given_pair(read_npz(other), split) for split, other in given.items()}
    content_hash, source_hashes = _hashes(path, given)
    return raw_from_arrays(
        path.stem,
        arrays["x_train"],
        arrays["y_train"],
        given=whole_pairs(path.stem, own | others),
        content_hash=content_hash,
        source_hashes=source_hashes,
    )


def _given_pair(arrays: Mapping[str, Array], split: str) -> tuple[Array | None, Array | None]:
    return _pair(arrays, split if _has_split(arrays, split) else "train")


def _has_split(arrays: Mapping[str, Array], split: str) -> bool:
    return f"x_{split}" in arrays or f"y_{split}" in arrays


def _pair(arrays: Mapping[str, Array], split: str) -> tuple[Array | None, Array | None]:
    return arrays.get(f"x_{split}"), arrays.get(f"y_{split}")


def _load_table(path: Path, given: Mapping[str, Path], options: _Options) -> RawDataset:
    table = open_table(path, encoding=options.encoding)
    roles = options.roles(str(path), table.columns)
    content_hash, source_hashes = _hashes(path, given)
    return table_dataset(
        _table_name(path),
        table,
        roles,
        given={
            split: GivenTable(open_table(other, encoding=options.encoding), str(other), source_hashes[split])
            for split, other in given.items()
        },
        label=str(path),
        content_hash=content_hash,
    )


def _table_name(path: Path) -> str:
    stem = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(stem).stem


def _hashes(path: Path, given: Mapping[str, Path]) -> tuple[str, dict[str, str]]:
    content_hash = hash_file(path)
    source_hashes = {split: hash_file(other) for split, other in given.items()}
    _check_different(given, content_hash, source_hashes)
    return content_hash, source_hashes
