"""The files for clusters, and the page about them: they can be read by what they are for."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from automl.cli import cli

_ROOT = Path(__file__).parent.parent
_EXAMPLES = _ROOT / "examples"
_FENCED = re.findall(
    r"^```bash\n(.*?)^```$", (_ROOT / "docs" / "scaling.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)
_COMMANDS = [line for block in _FENCED for line in block.splitlines() if line.startswith("automl ")]


def test_the_page_has_commands() -> None:
    assert len(_COMMANDS) >= 8


@pytest.mark.parametrize("line", _COMMANDS)
def test_the_commands_of_the_page_have_the_options_that_they_are_given(line: str) -> None:
    """They ask for GPUs, clusters and databases: they are read, and not run."""
    _, name, *arguments = shlex.split(line, comments=True)
    with click.Context(cli) as parent, cli.commands[name].make_context(name, arguments, parent=parent) as context:
        assert context.params


def test_the_kuberay_manifest_is_a_cluster_with_one_home_folder() -> None:
    manifest = yaml.safe_load((_EXAMPLES / "kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    head, (workers,) = manifest["spec"]["headGroupSpec"], manifest["spec"]["workerGroupSpecs"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for group in (head, workers)
        for volume in group["template"]["spec"]["volumes"]
    ]
    assert claims == ["automl-runs"] * 2
    containers = [container for group in (head, workers) for container in group["template"]["spec"]["containers"]]
    mounts = [mount["mountPath"] for container in containers for mount in container["volumeMounts"]]
    homes = [one["value"] for container in containers for one in container["env"] if one["name"] == "AUTOML_HOME"]
    assert homes == mounts == ["/automl-runs"] * 2


def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(_EXAMPLES / "slurm.sh")], check=True)
