"""`automl spaces` and `automl datasets`: what there is to search, and to search on."""

from __future__ import annotations

import click

from automl.cli.options import Common, common_options, text_table


@click.command()
@click.argument("name", required=False)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Show the space narrowed.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the space as a YAML file, to change and search.")
@common_options
def spaces(common: Common, name: str | None, settings: tuple[str, ...], as_yaml: bool) -> None:
    """List search spaces, or show the parameters of one (a name, module:attribute, file.py:attribute or file.yaml)."""
    from automl.narrowing import parse_settings
    from automl.space_sources import find_space, known_spaces, to_yaml

    if as_yaml and name is None:
        raise click.UsageError("--yaml takes the NAME of one space, as in: automl spaces mlp --yaml")
    if as_yaml and common.json:
        raise click.UsageError("give --yaml or --json, not both")
    if name is None:
        found = {key: find_space(key) for key in known_spaces()}
        rows = [[key, str(len(space.parameters)), key_doc(space.build.__module__)] for key, space in found.items()]
        common.give(
            {row[0]: {"parameters": int(row[1]), "about": row[2]} for row in rows},
            lambda: text_table(["space", "parameters", "about"], rows),
        )
        return
    space = find_space(name).narrow(parse_settings(settings))
    if as_yaml:
        click.echo(to_yaml(space), nl=False)
        return
    table = space.table()
    common.give(
        {"name": space.name, "fingerprint": space.fingerprint(), "parameters": table},
        lambda: text_table(
            ["parameter", "range", "default", "only when"],
            [[row["name"], row["range"], row["default"], row["when"]] for row in table],
        ),
    )


def key_doc(module: str) -> str:
    """Return the first line of a module's docstring, without the name that it starts with."""
    import sys

    lines = (sys.modules[module].__doc__ or "").strip().splitlines()
    return lines[0].partition(": ")[2] or lines[0] if lines else ""


@click.command()
@click.argument("name", required=False)
@common_options
def datasets(common: Common, name: str | None) -> None:
    """List built-in datasets, or describe one; a path to an .npz or .csv works wherever a name does."""
    from dataclasses import asdict

    from automl.data import known_datasets
    from automl.errors import UnknownNameError

    known = known_datasets()
    if name is not None and name not in known:
        raise UnknownNameError("dataset", name, known, also="or a path to an .npz or .csv file")
    chosen = [info for key, info in known.items() if name in (None, key)]
    rows = [
        [
            info.name,
            info.task,
            str(info.rows),
            "network once" if info.needs_network else "offline",
            info.description,
        ]
        for info in chosen
    ]
    common.give(
        [asdict(info) for info in chosen],
        lambda: text_table(["dataset", "task", "rows", "source", "about"], rows),
    )
