"""Missing cells of real tables, filled in by networks and by scikit-learn's imputers.

    python benchmarks/tables.py
    python benchmarks/tables.py --mechanisms MAR MNAR --shares 0.1 0.5 --seeds 0 --methods abpnet "mean fill"

Seven tables that scikit-learn and statsmodels (pip install 'abpnet[benchmarks]') ship, numbers, counts, grades and
categories among their columns, of at most 1,000 rows. Cells are hidden in every column completely at random (MCAR),
with a probability that rises with the column's own value (MNAR), or in seven of ten columns with one that depends on
the others (MAR). Error: root mean squared error of numbers, counts and grades in standard deviations of their column,
over columns; accuracy: of categories. Seconds are those of the processor.

The imputers take the same coding of columns as the networks, see `abpnet.baselines.tables`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from sklearn import datasets

import abpnet
from abpnet.baselines.tables import TABLE_IMPUTERS, impute_table
from abpnet.data.tables import Table
from abpnet.tables.judging import judge

MOST_ROWS = 1000
# Columns whose numbers are names.
NAMES = {"fair": ["occupation", "occupation_husb"], "wine": ["target"], "breast cancer": ["target"]}
TABLES = ("wine", "diabetes", "breast cancer", "fair", "anes96", "randhie", "star98")


def load(name: str) -> pd.DataFrame:
    """A complete table."""
    if name in ("wine", "diabetes", "breast cancer"):
        frame = getattr(datasets, f"load_{name.replace(' ', '_')}")(as_frame=True).frame
    else:
        frame = getattr(sm.datasets, name).load_pandas().data
    # What other columns determine: products of them, and a logarithm.
    determined = [column for column in frame if (name == "star98" and "_" in column) or column == "logpopul"]
    frame = frame.drop(columns=determined)
    frame = frame.astype(dict.fromkeys(NAMES.get(name, []), "category"))
    return frame.sample(min(len(frame), MOST_ROWS), random_state=0).reset_index(drop=True)


def _with_mean(logits: np.ndarray, share: float) -> np.ndarray:
    """Probabilities that rise with the logits and have this mean."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = (1 / (1 + np.exp(-(logits + middle)))).mean()
        low, high = (middle, high) if mean < share else (low, middle)
    return 1 / (1 + np.exp(-(logits + low)))


def hide(frame: pd.DataFrame, mechanism: str, share: float, seed: int) -> np.ndarray:
    """Which cells are hidden."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([pd.factorize(frame[column], sort=True)[0] for column in frame]).astype(float)
    values = (values - values.mean(0)) / values.std(0)
    n_columns = values.shape[1]
    chance = np.full(values.shape, share)
    if mechanism == "MNAR":
        chance = np.column_stack([_with_mean(2 * column, share) for column in values.T])
    if mechanism == "MAR":
        always = rng.permutation(n_columns)[: max(1, round(0.3 * n_columns))]
        for column in range(n_columns):
            logits = values[:, always] @ rng.normal(size=len(always))
            chance[:, column] = 0.0 if column in always else _with_mean(2 * logits / logits.std(), share)
    return rng.random(values.shape) < chance


def fill(method: str, shown: pd.DataFrame) -> pd.DataFrame:
    """The table as the method completes it."""
    if method == "abpnet":
        return abpnet.TableImputer().fit_transform(shown)
    return impute_table(method, Table.describe(shown), shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--methods", nargs="+", default=["abpnet", *TABLE_IMPUTERS])
    parser.add_argument("--mechanisms", nargs="+", default=["MCAR"], choices=["MCAR", "MAR", "MNAR"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| table | hidden | seed | method | error | accuracy | seconds |\n|---|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    cases = [(m, p, s) for s in arguments.seeds for p in arguments.shares for m in arguments.mechanisms]
    for mechanism, share, seed in cases:
        for name in arguments.tables:
            truth = load(name)
            hidden = hide(truth, mechanism, share, seed)
            for method in arguments.methods:
                start = time.process_time()
                error, accuracy = judge(Table.describe(truth), truth, fill(method, truth.mask(hidden)), hidden)
                seconds = time.process_time() - start
                case = {"table": name, "hidden": f"{mechanism} {100 * share:.0f} %", "seed": seed, "method": method}
                rows.append(case | {"error": error, "accuracy": accuracy, "seconds": seconds})
                figures = ["" if figure is None else f"{figure:.3f}" for figure in (error, accuracy)]
                print(f"| {' | '.join([*map(str, case.values()), *figures, f'{seconds:.1f}'])} |", flush=True)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
