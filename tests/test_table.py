"""Tables on the command line: completed, drawn, resumed, refused."""

import json
import signal

import numpy as np
import pandas as pd
import pytest

from abpnet.data.table_files import read_table
from abpnet.tasks import session, table
from commands import run

FAST = ["--latent-dim", "1", "--max-iter", "3"]


def people(n=60):
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    whole = pd.DataFrame(
        {
            "height": 170 + 10 * (z + 0.3 * rng.normal(size=n)),
            "size": np.where(z + 0.3 * rng.normal(size=n) > 0, "large", "small"),
            "visits": pd.array(rng.poisson(np.exp(2 + 0.5 * z)), dtype="Int64"),
        }
    )
    hidden = rng.random(whole.shape) < 0.3
    hidden[np.arange(n), rng.integers(0, 3, n)] = False
    return whole.mask(hidden)


@pytest.fixture
def source(tmp_path):
    people().to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_a_table_is_completed_and_drawn(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("complete", "--out", out, source, *FAST, "--imputations", "2") == 0
    before = read_table(source)
    for name in ("completed.csv", "completed_1.csv", "completed_2.csv"):
        after = read_table(out / name)
        assert not after.isna().any().any()
        there = before.notna()
        pd.testing.assert_frame_equal(after.where(there, before), before)
        assert pd.api.types.is_integer_dtype(after["visits"]), "whole numbers with gaps stay whole"
    assert not (out / "completed_3.csv").exists()
    assert (out / "completed_1.csv").read_bytes() != (out / "completed_2.csv").read_bytes()
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    result = json.loads((out / "result.json").read_text())
    assert [row["kind"] for row in result["columns"]] == ["number", "category", "count"]
    assert [row["missing"] for row in result["columns"]] == before.isna().sum().tolist()
    assert all(0 < row["unexplained"] < 2 for row in result["columns"])
    assert "table" not in result, "where the truth is unknown nothing is scored"
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("visits", "count", "unexplained", "abpnet table"))
    assert "[large]" in page, "what was filled in is in brackets"
    assert "report.html" in capsys.readouterr().out
    assert not list(out.glob("checkpoint-*"))


def test_parquet_comes_back_as_parquet_with_its_types(tmp_path):
    frame = people().astype({"size": "category"})
    frame.to_parquet(tmp_path / "people.parquet")
    out = tmp_path / "out"
    assert run("complete", tmp_path / "people.parquet", *FAST, "--kinds", "visits=number", "--out", out) == 0
    after = pd.read_parquet(out / "completed.parquet")
    assert (after.dtypes == frame.dtypes).all()
    assert json.loads((out / "result.json").read_text())["columns"][2]["kind"] == "number"


def test_interrupted_and_resumed_equals_uninterrupted(source, tmp_path, monkeypatch, capsys):
    options = [source, *FAST, "--imputations", "1"]
    assert run("complete", *options, "--out", tmp_path / "whole") == 0
    shown = session.show_progress

    def interrupted(iterations, **settings):
        for iteration in shown(iterations, **settings):
            if iteration.iteration == 2:
                signal.raise_signal(signal.SIGINT)
            yield iteration

    monkeypatch.setattr(session, "show_progress", interrupted)
    out = tmp_path / "stopped"
    assert run("complete", *options, "--out", out) == 130
    assert f"abpnet resume {out}" in capsys.readouterr().err
    assert list(out.glob("checkpoint-*"))
    monkeypatch.undo()
    assert run("resume", out) == 0
    for name in ("completed.csv", "completed_1.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_hidden_cells_are_scored_beside_other_imputers(source, tmp_path, capsys):
    people(300).to_csv(source, index=False)
    out = tmp_path / "out"
    assert run("complete", source, *FAST, "--mask", "pepper:0.2", "--out", out) == 0
    rows = json.loads((out / "result.json").read_text())["table"]
    assert [row["method"] for row in rows] == ["abpnet", "mean fill", "KNNImputer", "IterativeImputer"]
    ours, mean = rows[0], rows[1]
    assert ours["error"] < 0.95 * mean["error"]
    assert ours["accuracy"] > mean["accuracy"]
    assert "KNNImputer" in capsys.readouterr().out


def test_what_the_mask_hides_influences_nothing(tmp_path):
    frame = people()
    _, hidden = table._hide(frame, 0.2, 0)
    completed = []
    for value in (0.0, 1e30):
        frame.loc[hidden[:, 0], "height"] = value
        frame.to_parquet(tmp_path / "table.parquet")
        out = tmp_path / f"{value}"
        options = [*FAST, "--mask", "pepper:0.2", "--no-baselines", "--out", out]
        assert run("complete", tmp_path / "table.parquet", *options) == 0
        completed.append((out / "completed.parquet").read_bytes())
    assert hidden[:, 0].sum() > 5
    assert completed[0] == completed[1]


BAD = {
    "nothing.csv": ("", "nothing.csv: damaged or unreadable"),
    "names.csv": ("a,b\n", "has no rows"),
    "one.csv": ("a,b\n1,\n", "holds 1 row"),
    "whole.csv": ("a,b\n1,2\n3,4\n", "no cell is missing"),
    "row.csv": ("a,b\n1,2.5\n,\n3,4.5\n", "row 2 has no value at all"),
    "unique.csv": ("a,b\n" + "".join(f"{i},name {i}\n{i},\n" for i in range(20)), "no value comes twice"),
    "column.csv": ("a,b\n1,\n2,\n3,\n", "'b': has no value at all"),
    "twice.csv": ("a,b,a\n1,2,3\n4,5,\n", "named 'a'"),
    "dates.csv": ("a,b\n1,2020-01-01\n,2021-05-03\n", "'b': datetime64"),
    "infinite.csv": ("a,b\n1,inf\n2,3\n,4\n", "'b': holds infinity"),
    "ragged.csv": ("a,b\n1,2\n1,2,3,4\n", "damaged or unreadable"),
    "binary.csv": (b"\xff\xfe\x00\x01" * 30, "damaged or unreadable"),
    "junk.parquet": ("no parquet", "damaged or unreadable"),
}


@pytest.mark.parametrize("name", BAD)
def test_tables_that_cannot_be_used_are_one_line(tmp_path, capsys, name):
    content, named = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    capsys.readouterr()
    assert run("complete", tmp_path / name, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert named in said
    assert name in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--imputations", "-1"], "--imputations"),
        (["--latent-dim", "0"], "--latent-dim"),
        (["--max-iter", "0"], "--max-iter"),
        (["--max-seconds", "nan"], "--max-seconds"),
        (["--kinds", "height"], "NAME=KIND"),
        (["--mask", "region:3"], "--mask region:3"),
        (["--mask", "pepper:2"], "--mask pepper:2"),
        (["--kinds", "weight=number"], "'weight'"),
        (["--kinds", "size=number"], "'size': a number must hold numbers"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(source, tmp_path, capsys, options, named):
    assert run("complete", source, *options, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_tables(tmp_path, capsys):
    (tmp_path / "table.xlsx").write_text("x")
    assert run("table", tmp_path / "table.xlsx", "--out", tmp_path / "out") == 2
    assert "expected a table, .csv or .parquet" in capsys.readouterr().err
    assert run("complete", tmp_path / "absent.csv", "--out", tmp_path / "out") == 2
    assert "no such file" in capsys.readouterr().err
