"""The files for clusters: they can be read by what they are for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

_EXAMPLES = Path(__file__).parent.parent / "examples"


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


def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(_EXAMPLES / "slurm.sh")], check=True)
