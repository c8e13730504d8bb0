"""The control groups that this process is in, as folders: what bounds a container, or a job of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def group_folders(controller: str, groups: Path, own_groups: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups and of all around them, the innermost first.

    Of both versions; in a container only the mount's own folder exists.

    Args:
        controller: What version 1 calls the thing that is bounded: `memory`, `cpu`.
        groups: Where control groups are mounted.
        own_groups: File that names this process's groups.
    """
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = groups / controller if controllers else groups
        folder = mounted / path.lstrip("/")
        yield from (one for one in (folder, *folder.parents) if one.is_relative_to(mounted))
