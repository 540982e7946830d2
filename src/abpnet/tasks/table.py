"""Experiment 5 on tables: learn from rows of which many cells are missing, and complete them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abpnet import parallel, report
from abpnet.baselines.tables import TABLE_IMPUTERS, impute_table
from abpnet.data.table_files import is_table, read_table, write_table
from abpnet.data.tables import KINDS, Kind, Table
from abpnet.errors import InputError
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tables import TableImputer
from abpnet.tables.judging import judge
from abpnet.tasks.reading import ReadingSettings
from abpnet.tasks.session import curves, first_of, logged, reproduction
from abpnet.tasks.settings import LearningSettings, check_number

__all__ = ["TableSettings", "run", "settings_of_table"]

OURS = "abpnet"
MOST_FACTORS, MOST_IMPUTATIONS = 1000, 1000
# Random forests take minutes.
COMPARED = [method for method in TABLE_IMPUTERS if method != "random forests"]
SHOWN_ROWS, SHOWN_COLUMNS = 12, 12
EXPLANATION = (
    "Error on hidden cells of numbers, counts and grades: root mean squared, in standard deviations of their column, "
    "over all columns; accuracy: on those of categories. All methods saw the same cells, coded the same way."
)
UNEXPLAINED = (
    "Unexplained: mean squared error at observed cells that were held back from learning, as a share of their column's "
    "variance: 0 = all are predicted exactly, 1 = no better than by the mean."
)


@dataclass(frozen=True, kw_only=True)
class TableSettings(ReadingSettings, LearningSettings):
    """Those settings of `complete` that make sense for tables."""

    source: str
    mask: str = "nan"
    latent_dim: int | None = None
    baselines: bool = True
    imputations: int = 0
    kinds: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--latent-dim", self.latent_dim, 1, MOST_FACTORS)
        check_number("--imputations", self.imputations, 0, MOST_IMPUTATIONS)
        _ = self.share_hidden, self.kinds_by_name
        if self.device not in ("auto", "cpu") or self.precision == "bfloat16":
            raise InputError("--device and --precision: tables are learned by the CPU in float32; leave them out")
        if parallel.n_processes() > 1:
            raise InputError("tables are learned by one process; start the command without torchrun")

    @property
    def share_hidden(self) -> float:
        """Share of the observed cells that is hidden."""
        kind, _, number = self.mask.partition(":")
        try:
            if self.mask == "nan" or (kind == "pepper" and 0 < float(number) < 1):
                return 0.0 if self.mask == "nan" else float(number)
        except ValueError:
            pass
        raise InputError(f"--mask {self.mask}: expected pepper:FRACTION of a table's cells, 0 to 1, or nan")

    @property
    def kinds_by_name(self) -> dict[Hashable, Kind]:
        """What the user says about columns."""
        kinds: dict[Hashable, Kind] = {}
        for given in self.kinds:
            name, _, told = given.rpartition("=")
            known = [kind for kind in KINDS if kind == told]
            if not name or not known:
                raise InputError(f"--kinds {given}: expected COLUMN={'|'.join(KINDS)}")
            kinds[name] = known[0]
        return kinds


def settings_of_table(settings: Any) -> TableSettings | None:
    """Those of `complete` for a table; None if its source is none.

    Raises:
        InputError: If settings belong to the other kind of source.
    """
    names = {field.name for field in dataclasses.fields(TableSettings)}
    of_images = {"source"} | {field.name for field in dataclasses.fields(settings)} - {"imputations", "kinds"}
    allowed = names if is_table(settings.source) else of_images
    for field in dataclasses.fields(settings):
        if field.name not in allowed and getattr(settings, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{option} belongs to {'images' if allowed is names else 'tables'}; leave it out")
    return TableSettings(**{name: getattr(settings, name) for name in names}) if allowed is names else None


def _hide(frame: Any, share: float, seed: int) -> tuple[Any, np.ndarray]:
    """The table with some of its observed cells missing as well, and which: of no row or column the last one."""
    rng = np.random.default_rng(seed)
    observed = frame.notna().to_numpy()
    hidden = (rng.random(frame.shape) < share) & observed
    for axis in (0, 1):
        bare = ~(observed & ~hidden).any(axis, keepdims=True)
        hidden &= ~bare
    nullable = {name: {"i": "Int64", "u": "Int64", "b": "boolean"}.get(frame[name].dtype.kind) for name in frame}
    shown = frame.astype({name: dtype for name, dtype in nullable.items() if dtype}) if share else frame
    return shown.mask(hidden), hidden


def _check(frame: Any, source: str) -> None:
    """Refuse tables in which there is nothing to complete, or nothing to complete it from."""
    missing = frame.isna().to_numpy()
    if len(frame) < 2:
        raise InputError(f"{source}: holds {len(frame)} row, and learning needs 2")
    if not missing.any():
        raise InputError(f"{source}: no cell is missing; nothing to complete (--mask pepper:0.3 hides some, to try it)")
    if missing.all(1).any():
        raise InputError(
            f"{source}: row {int(missing.all(1).argmax()) + 1} has no value at all "
            f"({missing.all(1).sum()} such of {len(frame)}); remove it"
        )


def _learn(settings: TableSettings, imputer: TableImputer, shown: Any, folder: RunFolder) -> None:
    """Fit inside a run folder; goes on from the last checkpoint."""
    checkpoint = folder.load_checkpoint()
    passes = imputer.iterations(shown, checkpoint)
    with closing(logged(imputer, passes, folder, title="learning", first=first_of(checkpoint))) as iterations:
        for _ in iterations:
            pass


def _compare(
    settings: TableSettings, table: Table, frame: Any, shown: Any, hidden: np.ndarray, completed: Any, seconds: float
) -> list[dict[str, Any]]:
    """Ours beside the imputers, on the cells that the mask hid."""
    rows = [{"method": OURS, **judge(table, frame, completed, hidden)._asdict(), "seconds": round(seconds, 1)}]
    for method in COMPARED if settings.baselines else []:
        start = time.monotonic()
        with show_stage(f"for comparison: {method}"):
            filled = impute_table(method, table, shown)
        judgement = judge(table, frame, filled, hidden)
        rows.append({"method": method, **judgement._asdict(), "seconds": round(time.monotonic() - start, 1)})
    return rows


def _columns(imputer: TableImputer, shown: Any, completed: Any) -> list[dict[str, Any]]:
    """One row for each column: what it is, what was filled in, and how well it is predicted."""
    rows = []
    for index, column in enumerate(imputer.table_.columns):
        missing = shown.iloc[:, index].isna().to_numpy()
        filled = completed.iloc[:, index][missing]
        usual: Any = None
        if missing.any():
            usual = str(filled.mode().iloc[0]) if column.levels else float(filled.astype(float).mean())
        row: dict[str, Any] = {"column": str(column.name), "kind": column.kind, "levels": len(column.levels) or None}
        unexplained = imputer.unexplained_by_column_[column.name]
        row |= {"missing": int(missing.sum()), "filled in: mean, or most frequent": usual, "unexplained": unexplained}
        rows.append(row)
    return rows


def _excerpt(shown: Any, completed: Any) -> list[dict[str, Any]]:
    """The first rows and columns with missing cells; in brackets what was filled in."""
    missing = shown.isna().to_numpy()
    columns = np.flatnonzero(missing.any(0))[:SHOWN_COLUMNS].tolist()
    rows = np.flatnonzero(missing[:, columns].any(1))[:SHOWN_ROWS].tolist()

    def cell(row: int, column: int) -> str:
        value = completed.iloc[row, column]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"[{text}]" if missing[row, column] else text

    return [
        {"row": row + 1} | {str(completed.columns[column]): cell(row, column) for column in columns} for row in rows
    ]


def run(settings: TableSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, complete, draw, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the table cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    frame = read_table(settings.source, settings.limits)
    shown, hidden = _hide(frame, settings.share_hidden, settings.seed)
    _check(shown, settings.source)
    try:  # what cannot be learned is refused before anything is written
        Table.describe(shown, settings.kinds_by_name)
    except InputError as error:
        raise InputError(f"{settings.source}: {error}") from None
    imputer = TableImputer(
        settings.latent_dim,
        settings.kinds_by_name,
        max_iter=settings.max_iter,
        max_seconds=settings.max_seconds,
        random_state=settings.seed,
    )
    _learn(settings, imputer, shown, folder)
    completed = imputer.transform(shown)
    ending = Path(settings.source).suffix.lower()
    write_table(folder.path / f"completed{ending}", completed)
    draws = imputer.impute(shown, settings.imputations, settings.seed) if settings.imputations else []
    for number, drawn in enumerate(draws, 1):
        write_table(folder.path / f"imputation {number}{ending}", drawn)
    last = folder.metrics()[-1]
    result: dict[str, Any] = {
        "n_rows": len(frame),
        "missing": float(shown.isna().to_numpy().mean()),
        "latent_dim": imputer.latent_dim_,
        "unexplained": imputer.unexplained_,
        "iterations": last["iteration"],
        "seconds": last["seconds"],
        "columns": _columns(imputer, shown, completed),
    }
    summary = (
        f"{result['n_rows']:,} rows of {len(result['columns'])} columns, {100 * result['missing']:.1f} % of the cells "
        f"missing; factors: {imputer.latent_dim_}. "
    )
    if imputer.unexplained_ is None:
        summary += "The table is so small that no cell could be held back to tell how well it is completed."
    else:
        summary += (
            f"Of cells that learning held back, {100 * imputer.unexplained_:.0f} % of the variance was left "
            "unexplained (means of the columns: 100 %)."
        )
    if imputer.usual_:
        names = ", ".join(map(str, imputer.usual_))
        summary += f" Filled in by its most frequent value, which no other column tells about better: {names}."
    sections = {
        "Completed": [
            report.paragraph(summary),
            report.table(_excerpt(shown, completed)),
            report.paragraph("In brackets = filled in. The whole table is in the folder of this page."),
        ],
        "Columns": [report.table(result["columns"]), report.paragraph(UNEXPLAINED)],
    }
    if hidden.any():
        compared = (frame, shown, hidden, completed, last["seconds"])
        result["table"] = _compare(settings, imputer.table_, *compared)
        sections["Hidden cells"] = [report.table(result["table"], OURS), report.paragraph(EXPLANATION)]
    sections["Learning"] = curves(folder)
    sections["How to get this again"] = reproduction(settings, folder)
    report.write_report(folder.path / "report.html", f"Incomplete table: {settings.source}", sections)
    return result
