"""What `automl export` writes: whole, loadable, and with a script that trains the same model again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import final_models as models
import numpy as np
import pytest
from final_models import ARRAY, INCOME, PRICE, TABLE, HandPrepared, with_outputs

from automl import export
from automl.dataset_spec import DatasetSpec
from automl.errors import RequestError
from automl.handover.architecture import ModelWriter, as_function
from automl.handover.expressions import CannotWriteError, Writer
from automl.handover.model_card import escape
from automl.handover.train_script import copy_weights

pytestmark = [
    pytest.mark.usefixtures("keras_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's, of TensorFlow's arrays
]

_SGD = {
    "optimizer": "sgd",
    "momentum": 0.5,
    "learning_rate": 0.05,
    "learning_rate_schedule": "cosine",
    "batch_size": 16,
}


def _exported(
    folder: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, *, model: Any = None, metric: str = "val_accuracy"
) -> tuple[Path, Any, str]:
    record = models.record(folder, spec, _SGD, metric)
    (record.folder / "model").mkdir(parents=True)
    model = model or models.final(spec)
    model.save(record.folder / "model" / "model.keras")
    monkeypatch.setattr(export, "_prepared", lambda record: HandPrepared(spec))
    said: list[tuple[int, int]] = []
    note = export.write_export(say=lambda *counts: said.append(counts), record=record, partial=folder / "out")
    assert said == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return folder / "out", model, note


def _run(folder: Path) -> dict[str, dict[str, float]]:
    ran = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    words = [line.partition(" ") for line in ran.stdout.splitlines()]
    return {name: json.loads(rest) for name, _, rest in words if name in ("validation", "test")}


@pytest.mark.parametrize(
    ("spec", "metric", "metrics"),
    [
        (ARRAY, "val_accuracy", {"accuracy"}),
        (with_outputs(TABLE, PRICE, INCOME), "val_loss", {"price/m2_rmse", "price/m2_mae", "income_accuracy"}),
    ],
    ids=["array", "table with two outputs"],
)
def test_everything_is_written_and_the_script_trains(
    spec: DatasetSpec, metric: str, metrics: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import tensorflow as tf

    folder, model, note = _exported(tmp_path, spec, monkeypatch, metric=metric)
    assert note == ""
    names = {path.name for path in folder.iterdir()}
    wanted = {"model.keras", "saved_model", "train.py", "data", "model_card.md", "labels.json", "dataset_spec.json"}
    assert names == wanted
    rows = HandPrepared(spec).raw_example()
    given = models.called(model, rows)
    loaded = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    saved = tf.saved_model.load(folder / "saved_model")
    served = saved.serve(tf.nest.map_structure(tf.constant, rows))
    for one in (models.called(loaded, rows), tf.nest.map_structure(lambda value: value.numpy(), served)):
        tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, given)
    assert DatasetSpec.from_json(json.loads((folder / "dataset_spec.json").read_text())) == spec
    scores = _run(folder)
    assert set(scores["test"]) == set(scores["validation"]) == metrics
    again = keras.saving.load_model(folder / "retrained.keras", compile=False, safe_mode=True)
    tf.nest.map_structure(lambda a, b: np.testing.assert_equal(a.shape, b.shape), models.called(again, rows), given)


def test_the_script_reads_as_a_person_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, _ = _exported(tmp_path, ARRAY, monkeypatch)
    code = (folder / "train.py").read_text()
    for line in (
        'x = keras.layers.Dense(5, activation="relu", kernel_regularizer=keras.regularizers.L2(l2=0.001))(x)',
        "x = keras.layers.Dropout(0.1)(x)",
        "keras.layers.Normalization(axis=(), mean=1.0, variance=4.0)(input_)",
        "keras.optimizers.schedules.CosineDecay(0.05, decay_steps=16), momentum=0.5)",
        "SEED = 77",
        "EPOCHS = 4",
        "BATCH_SIZE = 16",
        'monitor="val_accuracy", mode="max"',
    ):
        assert line in code, code


def test_long_statistics_stand_beside_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    raw = keras.Input((2, 2), name="input")
    x = keras.layers.Rescaling(2.0)(raw)
    wide = keras.layers.Normalization(
        axis=(1, 2), mean=np.arange(4.0).reshape(2, 2).tolist(), variance=[[1.0, 1], [1, 1]]
    )
    model = keras.Model(raw, models.network(ARRAY)(wide(x)), name="final_model")
    monkeypatch.setattr("automl.handover.expressions._LONG", 3)
    folder, _, note = _exported(tmp_path, ARRAY, monkeypatch, model=model)
    assert note == ""
    values = json.loads((folder / "values.json").read_text())
    assert [values[key] for key in values if key.endswith(".mean")] == [[[0, 1], [2, 3]]]
    assert "VALUES[" in (folder / "train.py").read_text()
    assert _run(folder)["test"]["accuracy"] >= 0


def _branches() -> Any:
    import keras

    sequence = keras.Input((8, 4), name="import")  # no name that Python allows
    shared = keras.layers.Dense(4)
    x = shared(shared(keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))(sequence)))
    x, state, _ = keras.layers.LSTM(2, return_state=True, name="last")(x)
    attended = keras.layers.MultiHeadAttention(2, 3)(sequence, sequence)
    mean = keras.ops.mean(attended, axis=1)
    nested = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="tanh")], name="head")
    tail = keras.ops.concatenate([nested(state), mean[:, 1:3] * 2.0], axis=-1)
    inner_in = keras.Input((5,))
    inner = keras.Model(inner_in, [keras.layers.Dense(2)(inner_in), inner_in + 1.0], name="inner")
    first, second = inner(tail)
    return keras.Model(sequence, {"a": keras.layers.Concatenate()([first, x]), "b": second}, name="branches")


def test_any_functional_model_comes_back() -> None:
    import keras

    model, writer = _branches(), Writer(every_name=True)
    code = ModelWriter(model, writer).whole()
    source = "\n\n".join([*code.functions, as_function("build", code, name=model.name)])
    names: dict[str, Any] = {"keras": keras, "np": np}
    exec(source, names)
    again = names["build"]()
    copy_weights(model, again)
    x = np.random.default_rng(0).normal(size=(3, 8, 4)).astype("float32")
    wanted, given = models.called(model, x), models.called(again, x)
    for key in ("a", "b"):
        np.testing.assert_allclose(given[key], wanted[key], rtol=1e-5, err_msg=source)


def test_a_layer_of_mixed_precision_is_written_as_one() -> None:
    import keras

    layer = keras.layers.Dense(3, dtype="mixed_bfloat16")
    written = Writer().made(keras.saving.serialize_keras_object(layer))
    assert written == 'keras.layers.Dense(3, dtype="mixed_bfloat16")'


def test_frozen_layers_start_with_the_saved_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    base_in = keras.Input((2, 2))
    frozen = keras.layers.Dense(4, name="learned_elsewhere", trainable=False)
    base = keras.Model(base_in, keras.layers.Dense(3)(frozen(base_in[..., :2])), name="base")
    encoded = keras.Input((2, 2), name="input")
    flat = keras.layers.Flatten()(keras.layers.RandomFlip()(base(encoded)[..., None]))
    network = keras.Model(encoded, keras.layers.Dense(3, activation="softmax")(flat), name="network")
    raw = keras.Input((2, 2), name="input")
    model = keras.Model(raw, network(keras.layers.Rescaling(0.5)(raw)), name="final_model")
    folder, _, note = _exported(tmp_path, ARRAY, monkeypatch, model=model)
    assert note == ""
    assert 'FROZEN = ["base"]' in (folder / "train.py").read_text()
    _run(folder)
    again = keras.saving.load_model(folder / "retrained.keras", compile=False)
    kept = again.get_layer("network").get_layer("base").get_layer("learned_elsewhere").get_weights()
    for one, other in zip(kept, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    class Gate(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    Gate.__module__ = "__main__"
    x = keras.Input((2,))
    with pytest.raises(CannotWriteError, match="Gate"):
        ModelWriter(keras.Model(x, Gate()(x)), Writer()).whole()
    raw = keras.Input((2, 2), name="input")
    flat = keras.Model(raw, keras.layers.Dense(3)(keras.layers.Flatten()(raw)), name="final_model")
    folder, _, note = _exported(tmp_path, ARRAY, monkeypatch, model=flat)
    assert note.startswith("There is no `train.py`")
    assert note in (folder / "model_card.md").read_text()
    assert not (folder / "data").exists()


def test_names_from_data_cannot_break_the_card() -> None:
    assert escape("a|b*c\n<b>[x](y)") == r"a\|b\*c \<b\>\[x\]\(y\)"


def test_the_card_says_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, _ = _exported(tmp_path, with_outputs(TABLE, INCOME), monkeypatch)
    card = (folder / "model_card.md").read_text()
    for words in (
        r"\<=50K, \>50K",
        "| age | number |",
        "60 to train, 20 to validate, 20 sealed to test",
        "0.7500, 95 % interval 0.7000 to 0.8000",
        "mean over 2 seeds | 0.7600",
        "| optimizer | sgd |",
        "Dense",
        "load_model",
    ):
        assert words in card, card


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    record = models.record(tmp_path, ARRAY, {})
    with pytest.raises(RequestError, match="no final model"):
        export.check_export(record, tmp_path / "out", force=False)
    (record.folder / "model").mkdir(parents=True)
    (record.folder / "model" / "model.keras").write_bytes(b"")
    (tmp_path / "file").write_text("")
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("")
    for folder, message in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "in", "cannot be written"),
        (full, "not empty"),
        (record.folder.parent, "holds the study"),
    ):
        with pytest.raises(RequestError, match=message):
            export.check_export(record, folder, force=folder != full)
    export.check_export(record, full, force=True)
    export.check_export(record, tmp_path / "new" / "deep", force=False)


def test_an_export_replaces_what_was_there_only_when_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("")
    partial = export.partial_export(folder)
    partial.mkdir()
    (partial / "new").write_text("")
    export.publish_export(partial, folder)
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "spec", [ARRAY, models.TEXT, with_outputs(TABLE, PRICE, INCOME)], ids=["array", "text", "table with two outputs"]
)
def test_mlflow_loads_what_is_saved(spec: DatasetSpec, tmp_path: Path) -> None:
    import mlflow.keras
    import tensorflow as tf
    from mlflow.models import get_model_info

    model, prepared = models.final(spec), HandPrepared(spec)
    export.save_final_model(model, prepared, tmp_path / "model")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    loaded = mlflow.keras.load_model(str(tmp_path / "model" / "mlflow"))
    rows = prepared.raw_example()
    wanted, given = models.called(model, rows), models.called(loaded, rows)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), given, wanted)
    signature = get_model_info(str(tmp_path / "model" / "mlflow")).signature
    names = [one.name for one in spec.raw_inputs] if spec.columns else [None]
    assert [one.name for one in signature.inputs.inputs] == names
    assert len(signature.outputs.inputs) == len(spec.outputs)
