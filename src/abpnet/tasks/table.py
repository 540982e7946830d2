"""Experiment 5 on tables: fill in the missing cells of numbers, counts, grades and categories."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from abpnet import parallel, report
from abpnet.baselines.tables import TABLE_IMPUTERS, impute_table
from abpnet.data.table_files import read_table, write_table
from abpnet.data.tables import Table
from abpnet.errors import InputError
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tables import TableImputer
from abpnet.tables.judging import judge
from abpnet.tasks.session import RunSettings, check_number, curves, go_through, reproduction

__all__ = ["TableSettings", "run"]

OURS = "abpnet"
MOST_IMPUTATIONS = 1000
# Forests take minutes.
COMPARED = [method for method in TABLE_IMPUTERS if method != "random forests"]
SHOWN_ROWS, SHOWN_COLUMNS = 12, 12
UNEXPLAINED = (
    "Unexplained: mean squared error at observed cells that were held back from learning, as a share of their column's "
    "variance: 0 = all are predicted exactly, 1 = no better than by the mean. Expect as much at the missing cells, if "
    "they are missing at random."
)
EXPLANATION = (
    "Error on hidden cells of numbers, counts and grades: root mean squared, in standard deviations of their column, "
    "over all columns; accuracy: on those of categories. All methods saw the same cells, coded the same way."
)


@dataclass(frozen=True, kw_only=True)
class TableSettings(RunSettings):
    """Fill in the missing cells of a table; `abpnet complete` passes files ending in .csv or .parquet on to this.

    For example:

      abpnet complete patients.csv --out runs/patients
      abpnet complete survey.parquet --kinds region=category --imputations 20 --out runs/survey
      abpnet complete patients.csv --mask pepper:0.1 --out runs/tried
    """

    source: Annotated[str, tyro.conf.Positional]
    """A .csv file with a line of names, or a .parquet file."""
    out: Path = Path("runs/table")
    """Folder of the run; it must be new or empty."""
    mask: str = "nan"
    """pepper:FRACTION = hide that share of the cells as well, and score what is filled in there beside other methods;
    nan = nothing more than what is missing already."""
    baselines: bool = True
    """With --mask: compare with other methods."""
    imputations: int = 0
    """How many tables to draw besides the completed one, as in multiple imputation."""
    kinds: tuple[str, ...] = ()
    """NAME=KIND of columns whose values mislead about what they are: number, count, grade or category."""
    latent_dim: int | None = None
    """Latent factors; by default as many as predict cells that are held back best."""
    max_iter: int = 200
    """Passes over the rows at most."""
    max_seconds: float | None = None
    """Seconds of learning at most."""
    device: tyro.conf.Suppress[str] = "cpu"
    """Tables are small: they are learned on the CPU."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--imputations", self.imputations, 0, MOST_IMPUTATIONS)
        check_number("--latent-dim", self.latent_dim, 1)
        check_number("--max-iter", self.max_iter, 1)
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"--max-seconds must be above 0, got {self.max_seconds}")
        for told in self.kinds:
            if "=" not in told:
                raise InputError(f"--kinds: expected NAME=KIND, got {told!r}")
        self.share_hidden()

    def share_hidden(self) -> float:
        """Share of the observed cells that is hidden.

        Raises:
            InputError: If the mask is none of a table's.
        """
        kind, _, number = self.mask.partition(":")
        try:
            if self.mask == "nan" or (kind == "pepper" and 0 < float(number) < 1):
                return 0.0 if self.mask == "nan" else float(number)
        except ValueError:
            pass
        raise InputError(f"--mask {self.mask}: expected pepper:FRACTION of a table's cells, 0 to 1, or nan")

    def imputer(self) -> TableImputer:
        """Not yet fitted."""
        kinds: dict[Any, Any] = {name: kind for name, _, kind in (told.rpartition("=") for told in self.kinds)}
        return TableImputer(
            self.latent_dim,
            kinds=kinds,
            max_iter=self.max_iter,
            max_seconds=self.max_seconds,
            random_state=self.seed,
        )


def _learned(settings: TableSettings, folder: RunFolder, frame: Any) -> TableImputer:
    imputer = settings.imputer()
    try:
        Table.describe(frame, imputer.kinds)  # refused before anything is written
        checkpoint = folder.load_checkpoint()
        with closing(imputer.iterations(frame, checkpoint)) as passes:
            go_through(imputer, passes, folder, "learning", checkpoint)
    except InputError as error:
        raise InputError(f"{settings.source}: {error}") from None
    return imputer


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


def _compare(
    methods: list[str], table: Table, frame: Any, shown: Any, hidden: np.ndarray, completed: Any, seconds: float
) -> list[dict[str, Any]]:
    """Ours beside other imputers, on the cells that the mask hid."""
    rows = [{"method": OURS, **judge(table, frame, completed, hidden)._asdict(), "seconds": round(seconds, 1)}]
    for method in methods:
        start = time.monotonic()
        with show_stage(f"for comparison: {method}"):
            filled = impute_table(method, table, shown)
        judgement = judge(table, frame, filled, hidden)._asdict()
        rows.append({"method": method, **judgement, "seconds": round(time.monotonic() - start, 1)})
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
    """Learn, fill in, draw, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the table cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    if parallel.n_processes() > 1:
        raise InputError("tables are small: they are learned by one process; start it without torchrun")
    frame = read_table(settings.source)
    shown, hidden = _hide(frame, settings.share_hidden(), settings.seed)
    _check(shown, settings.source)
    imputer = _learned(settings, folder, shown)
    suffix = Path(settings.source).suffix.lower()
    with show_stage("filling in"):
        completed = imputer.transform(shown)
        write_table(folder.path / f"completed{suffix}", completed)
        drawn = imputer.impute(shown, settings.imputations, settings.seed) if settings.imputations else []
        for index, table in enumerate(drawn, 1):
            write_table(folder.path / f"completed_{index}{suffix}", table)
    last, columns = folder.metrics()[-1], _columns(imputer, shown, completed)
    found: dict[str, Any] = {
        "n_rows": len(frame),
        "missing": int(shown.isna().to_numpy().sum()),
        "latent_dim": imputer.latent_dim_,
        "unexplained": imputer.unexplained_,
        "columns": columns,
    }
    told = f"{imputer.latent_dim_} factors; unexplained, all columns together: {imputer.unexplained_:.3f}."
    sections = {
        "Completed": [
            report.table(_excerpt(shown, completed)),
            report.paragraph("In brackets = filled in. The whole table stands beside this page."),
        ],
        "Columns": [report.table(columns), report.paragraph(UNEXPLAINED), report.paragraph(told)],
    }
    if hidden.any():
        methods = COMPARED if settings.baselines else []
        found["table"] = _compare(methods, imputer.table_, frame, shown, hidden, completed, last["seconds"])
        sections["Hidden cells"] = [report.table(found["table"], OURS), report.paragraph(EXPLANATION)]
    sections |= {"Learning": curves(folder), "How to get this again": reproduction(settings, folder)}
    title = f"{len(frame)} rows of {len(frame.columns)} columns: {settings.source}"
    report.write_report(folder.path / "report.html", title, sections)
    return last | found
