"""Write the HTML report: one page that carries everything it needs and asks the network for nothing."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from automl.errors import RequestError
from automl.results import StudyRecord
from dashboards import figures, views, wording


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure on the page.

    Attributes:
        anchor: Id of the figure, unique on the page.
        title: What the figure shows.
        height: Height in pixels, kept free until the figure is drawn.
        json: The figure as JSON in which no `<` is left, so that it can stand inside a script element.
    """

    anchor: str
    title: str
    height: int
    json: Markup


@dataclass(frozen=True, kw_only=True)
class StudySection:
    """One study on the page: what is said and what is drawn."""

    view: views.StudyView
    progress: Plot | None
    curves: Plot | None
    parameters: tuple[Plot, ...]


def write_report(records: Sequence[StudyRecord], path: Path) -> Path:
    """Write one self-contained HTML page about one or more studies.

    The page replaces what was at `path` only when it is complete.

    Args:
        records: The studies, in the order in which the page shows them.
        path: The file to write; its folder must exist.

    Returns:
        The path that was written.

    Raises:
        RequestError: The file cannot be written there.
    """
    page = render_page(records, written=datetime.now(UTC))
    # A name that is not Unicode (a file's, say) must not cost the page: what cannot be written becomes "?".
    with _replacing(path) as temporary, temporary.open("x", encoding="utf-8", errors="replace") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    return path


def render_page(records: Sequence[StudyRecord], *, written: datetime) -> str:
    """Return the page as one string.

    Args:
        records: The studies, in the order in which the page shows them.
        written: The moment that the page names as its own.
    """
    anchors = [f"study-{index}" for index in range(1, len(records) + 1)]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=_title(records),
            written=written.strftime("%Y-%m-%d %H:%M %Z"),
            best_rows=views.best_per_dataset(records, anchors),
            sections=[_section(record, anchor) for record, anchor in zip(records, anchors, strict=True)],
            total_trials=sum(len(record.trials) for record in records),
            total_seconds=sum(record.elapsed_seconds for record in records),
            limits=figures,
            plotly_js=Markup(get_plotlyjs()),
        )
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` that takes its place when the block ends well, and goes if not."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(
            f"the report cannot be written to {str(path)!r} ({reason}): name a file in a writable folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the replacement, or never made
            temporary.unlink()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dashboards"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": wording.score,
        "signed_score": wording.signed_score,
        "number": wording.count,
        "duration": wording.duration,
        "plural": wording.plural,
    }
    environment.globals["nothing"] = wording.NOTHING
    return environment


def _title(records: Sequence[StudyRecord]) -> str:
    if len(records) == 1:
        return records[0].name
    datasets = {record.dataset.fingerprint for record in records}
    return f"{wording.plural(len(records), 'study')} on {wording.plural(len(datasets), 'dataset')}"


def _section(record: StudyRecord, anchor: str) -> StudySection:
    progress, curves = figures.best_value_over_time(record), figures.learning_curves(record)
    small = figures.values_by_parameter(record)
    return StudySection(
        view=views.view_study(record, anchor=anchor),
        progress=progress and _plot(progress, f"{anchor}-progress", "Best value over time"),
        curves=curves and _plot(curves, f"{anchor}-curves", "Learning curves"),
        parameters=tuple(_plot(one, f"{anchor}-parameter-{i}", name) for i, (name, one) in enumerate(small)),
    )


def _plot(figure: Any, anchor: str, title: str) -> Plot:
    # Plotly's own encoder writes every `<`, `>` and `/` as an escape, and NaN as null.
    encoded = Markup(to_json_plotly(figure.to_plotly_json()))
    return Plot(anchor=anchor, title=title, height=int(figure.layout.height), json=encoded)
