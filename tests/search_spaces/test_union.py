from __future__ import annotations

from pathlib import Path

import pytest

from automl import auto_space, find_space
from automl.testing import check_config, example_spec


@pytest.mark.parametrize("kind", ["numbers", "image", "array", "table", "text", "two outputs"])
def test_every_family_that_suits_the_data_builds_trains_saves_and_loads(kind: str, tmp_path: Path) -> None:
    spec = example_spec(kind)
    space = auto_space(spec)
    families = space.leaves()["family"].values if "family" in space.leaves() else [None]  # type: ignore[union-attr]
    for family in families:
        one = space.narrow({"family": family}) if family else space
        check_config(one, one.default_config(), spec, tmp_path)


def test_a_union_builds_what_its_family_builds() -> None:
    union, mlp, spec = find_space("linear+mlp"), find_space("mlp"), example_spec("numbers")
    config = union.narrow({"family": "mlp", "mlp_hidden": 3, "mlp_hidden.units": 17}).default_config()
    own = mlp.narrow({"hidden": 3, "hidden.units": 17}).default_config()
    assert union.build(config, spec).count_params() == mlp.build(own, spec).count_params()
