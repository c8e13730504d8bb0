from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl import SpaceError, Task
from automl.dataset_spec import DatasetSpec
from automl.testing import check_config, image_input, make_output, make_spec
from search_spaces.transfer import BASES, WEIGHTS_VARIABLE, transfer

SMALL = {"image_size": 96, "base": "MobileNetV3Small", "augmentation": "none"}


def photos(channels: int, pixel_scale: float | None = 255.0) -> DatasetSpec:
    return make_spec(
        image_input(10, 12, channels, pixel_scale=pixel_scale), outputs=(make_output(Task.MULTICLASS, units=3),)
    )


def base_of(model: Any) -> Any:
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


@pytest.mark.parametrize(("channels", "pixel_scale"), [(3, 255.0), (1, None)])
def test_a_base_without_training_builds_trains_saves_and_loads(
    channels: int, pixel_scale: float | None, tmp_path: Path
) -> None:
    space = transfer(weights="random").narrow(SMALL)
    check_config(space, space.default_config(), photos(channels, pixel_scale), tmp_path)


def test_weights_come_from_a_local_file_and_the_frozen_part_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    given = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(96, 96, 3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # of TensorFlow with numpy 2
        given.save_weights(tmp_path / "base.weights.h5")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "base.weights.h5"))
    for part, frozen in [("frozen", True), ("last_fifth", False)]:
        space = transfer().narrow({**SMALL, "trained_part": part})
        base = base_of(space.build(space.default_config(), photos(3)))
        assert all(np.array_equal(a, b) for a, b in zip(base.get_weights(), given.get_weights(), strict=True))
        assert (not base.trainable_variables) == frozen
        assert len(base.trainable_variables) < len(given.trainable_variables) / 2


def test_a_file_that_is_missing_or_holds_other_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    missing = transfer(weights=str(tmp_path / "none.weights.h5")).narrow(SMALL)
    with pytest.raises(SpaceError, match="no such file"):
        missing.build(missing.default_config(), photos(3))
    (tmp_path / "text.weights.h5").write_text("no weights")
    wrong = transfer(weights=str(tmp_path / "text.weights.h5")).narrow(SMALL)
    with pytest.raises(SpaceError, match="does not hold the weights of MobileNetV3Small") as caught:
        wrong.build(wrong.default_config(), photos(3))
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_how_to_give_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError("network is unreachable")

    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(keras.applications, "MobileNetV3Small", unreachable)
    space = transfer().narrow(SMALL)
    with pytest.raises(SpaceError, match=f"give a local file with {WEIGHTS_VARIABLE}=FILE"):
        space.build(space.default_config(), photos(3))


def test_every_base_is_one_of_keras() -> None:
    import keras

    assert all(hasattr(keras.applications, name) for name in BASES)
