"""Experiment 5 on tables: fill in the missing cells of numbers, counts, grades and categories."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from abpnet import parallel, report
from abpnet.data.tables import Table, read_table, write_table
from abpnet.errors import InputError
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tables import TableImputer
from abpnet.tasks.session import RunSettings, check_number, curves, go_through, reproduction

__all__ = ["TableSettings", "run"]

MOST_IMPUTATIONS = 1000
EXPLANATION = (
    "Unexplained: mean squared error at observed cells that were held back from learning, as a share of their column's "
    "variance: 0 = all are predicted exactly, 1 = no better than by the mean. Expect as much at the missing cells, if "
    "they are missing at random."
)


@dataclass(frozen=True, kw_only=True)
class TableSettings(RunSettings):
    """Fill in the missing cells of a table; `abpnet complete` passes files ending in .csv or .parquet on to this.

    For example:

      abpnet complete patients.csv --out runs/patients
      abpnet complete survey.parquet --kinds region=category --imputations 20 --out runs/survey
    """

    source: Annotated[str, tyro.conf.Positional]
    """A .csv file with a line of names, or a .parquet file."""
    out: Path = Path("runs/table")
    """Folder of the run; it must be new or empty."""
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


def run(settings: TableSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, fill in, draw, report; goes on where an interrupted run stopped.

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
    if len(frame) < 2:
        raise InputError(f"{settings.source}: has one row; learning needs 2 or more")
    suffix = Path(settings.source).suffix.lower()
    missing = frame.isna().sum()
    again = {"How to get this again": reproduction(settings, folder)}
    title = f"{len(frame)} rows of {len(frame.columns)} columns: {settings.source}"
    if not missing.any():
        told = "No cell is missing: completed is the table as it came, and nothing was learned."
        write_table(folder.path / f"completed{suffix}", frame)
        report.write_report(folder.path / "report.html", title, {"Columns": [report.paragraph(told)]} | again)
        return {"missing": 0, "told": told}
    imputer = _learned(settings, folder, frame)
    with show_stage("filling in"):
        write_table(folder.path / f"completed{suffix}", imputer.transform(frame))
        drawn = imputer.impute(frame, settings.imputations, settings.seed) if settings.imputations else []
        for index, table in enumerate(drawn, 1):
            write_table(folder.path / f"completed_{index}{suffix}", table)
    columns = [
        {
            "column": str(column.name),
            "kind": column.kind,
            "missing": int(missing.iloc[index]),
            "unexplained": imputer.unexplained_by_column_[column.name],
        }
        for index, column in enumerate(imputer.table_.columns)
    ]
    told = f"{imputer.latent_dim_} factors; unexplained, all columns together: {imputer.unexplained_:.3f}."
    sections = {
        "Columns": [report.table(columns), report.paragraph(EXPLANATION), report.paragraph(told)],
        "Learning": curves(folder),
    }
    report.write_report(folder.path / "report.html", title, sections | again)
    found = {"latent_dim": imputer.latent_dim_, "missing": int(missing.sum()), "table": columns}
    return found | folder.metrics()[-1] | {"unexplained": imputer.unexplained_}
