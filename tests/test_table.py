"""`abpnet complete` of tables, files in and out."""

import json
import sys
from decimal import Decimal

import pandas as pd
import pytest

from abpnet.data.table_files import read_table
from abpnet.runs import RunFolder
from abpnet.tasks import session, table
from commands import run
from table_frames import mixed, shown

FEW = ["--latent-dim", "1", "--max-iter", "2"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Folder of the same incomplete table as both kinds of file."""
    folder = tmp_path_factory.mktemp("tables")
    shown().to_csv(folder / "table.csv", index=False)
    shown().astype({"tall": "boolean"}).to_parquet(folder / "table.parquet")
    return folder


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_is_completed_and_what_was_there_stays(tables, tmp_path, ending):
    out, source = tmp_path / "out", tables / f"table.{ending}"
    assert run("complete", source, *FEW, "--imputations", "2", "--out", out) == 0
    before = read_table(source)
    for name in ("completed", "imputation 1", "imputation 2"):
        after = read_table(out / f"{name}.{ending}")
        assert not after.isna().any().any()
        there = before.notna().to_numpy()
        assert (before.astype(str).to_numpy() == after.astype(str).to_numpy())[there].all()
        assert ending == "csv" or (before.dtypes == after.dtypes).all()
    result = json.loads((out / "result.json").read_text())
    assert (result["n_rows"], result["latent_dim"], result["iterations"]) == (60, 1, 2)
    assert [column["kind"] for column in result["columns"]][:2] == ["category", "number"]
    assert result["columns"][2]["kind"] == ("grade" if ending == "parquet" else "category")
    assert result["columns"][3]["missing"] == before["visits"].isna().sum()
    assert "table" not in result, "where the truth is unknown nothing is scored"
    page = (out / "report.html").read_text()
    assert "[" in page
    assert "abpnet complete" in page
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


def test_hidden_cells_are_scored_beside_other_imputers(tables, tmp_path):
    out = tmp_path / "out"
    assert run("complete", tables / "table.parquet", *FEW, "--mask", "pepper:0.2", "--out", out) == 0
    rows = json.loads((out / "result.json").read_text())["table"]
    assert [row["method"] for row in rows] == ["abpnet", "mean fill", "KNNImputer", "IterativeImputer"]
    ours, mean = rows[0], rows[1]
    assert ours["error"] < 0.9 * mean["error"]
    assert ours["accuracy"] > mean["accuracy"]


def test_what_the_mask_hides_influences_nothing(tmp_path):
    frame, _ = mixed()
    _, hidden = table._hide(frame, 0.2, 0)
    completed = []
    for value in (0.0, 1e30):
        frame.loc[hidden[:, 1], "height"] = value
        frame.to_parquet(tmp_path / "table.parquet")
        out = tmp_path / f"{value}"
        options = [*FEW, "--mask", "pepper:0.2", "--no-baselines", "--out", out]
        assert run("complete", tmp_path / "table.parquet", *options) == 0
        completed.append((out / "completed.parquet").read_bytes())
    assert hidden[:, 1].sum() > 5
    assert completed[0] == completed[1]


def test_a_table_too_small_to_hold_cells_back_says_so(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1.5,\n,2.5\n3.5,\n")
    out = tmp_path / "out"
    assert run("complete", tmp_path / "table.csv", *FEW, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["unexplained"] is None
    assert [column["unexplained"] for column in result["columns"]] == [None, None]
    assert "no cell could be held back" in (out / "report.html").read_text()


def test_decimal_numbers_are_numbers(tmp_path):
    prices = [Decimal("1.50"), Decimal("2.25"), None, Decimal("4.00"), Decimal("3.75")]
    pd.DataFrame({"price": prices, "x": [1.0, 2.0, 2.5, 4.0, None]}).to_parquet(tmp_path / "table.parquet")
    assert list(read_table(tmp_path / "table.parquet")["price"].dropna()) == [1.5, 2.25, 4.0, 3.75]
    assert run("complete", tmp_path / "table.parquet", *FEW, "--out", tmp_path / "out") == 0


def test_kinds_are_told_by_name(tables, tmp_path):
    out = tmp_path / "out"
    assert run("complete", tables / "table.csv", *FEW, "--kinds", "visits=number", "--out", out) == 0
    assert json.loads((out / "result.json").read_text())["columns"][3]["kind"] == "number"
    assert read_table(out / "completed.csv")["visits"].dtype.kind == "i", "whole numbers stay whole"


def test_interrupted_and_resumed_equals_uninterrupted(tables, tmp_path, monkeypatch):
    long = ["--latent-dim", "1", "--max-iter", "4"]
    assert run("complete", tables / "table.csv", *long, "--out", tmp_path / "whole") == 0
    out, log = tmp_path / "stopped", RunFolder.log

    def stop_at_third(folder, row):
        log(folder, row)
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patched.setattr(RunFolder, "log", stop_at_third)
        assert run("complete", tables / "table.csv", *long, "--out", out) == 130
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-00000001", "checkpoint-00000002"]
    assert not (out / "result.json").exists()
    assert run("resume", out) == 0
    assert (out / "completed.csv").read_bytes() == (tmp_path / "whole" / "completed.csv").read_bytes()


CSV = "a,b,c\n"
REFUSED = {
    "no cell is missing": "1,2.5,x\n2,3.5,y\n3,4.5,x\n",
    "'b': has no value at all": "1,,x\n2,,y\n,,x\n",
    "row 2 has no value at all": "1,2.5,x\n,,\n3,4.5,x\n",
    "holds 1 row": "1,,x\n",
    "no rows": "",
    "line 3 has 5 cells, the header 3": "1,2.5,x\n1,2,3,4,5\n",
    "line 2 has 4 cells, the header 3": "1,2.5,x,y\n2,3,x,y\n",
    "'b': datetime64": "1,2020-01-01,x\n2,2021-05-06,y\n3,,x\n",
    "no value comes twice": "".join(f"{i},,name {i}\n{i},2.5,\n" for i in range(20)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_tables_that_cannot_be_completed_get_one_line(tmp_path, capsys, message):
    (tmp_path / "table.csv").write_text(CSV + REFUSED[message])
    capsys.readouterr()
    assert run("complete", tmp_path / "table.csv", "--out", tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert message in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--mirror"], "--mirror belongs to images"),
        (["--mask", "region:3"], "--mask region:3"),
        (["--mask", "pepper:2"], "--mask pepper:2"),
        (["--kinds", "visits=numbers"], "--kinds visits=numbers"),
        (["--kinds", "weight=number"], "'weight'"),
        (["--imputations", "-1"], "--imputations"),
        (["--latent-dim", "0"], "--latent-dim"),
        (["--precision", "bfloat16"], "--precision"),
    ],
)
def test_settings_that_do_not_fit_tables(tables, tmp_path, capsys, options, named):
    capsys.readouterr()
    assert run("complete", tables / "table.csv", *options, "--out", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert named in message
    assert not (tmp_path / "out").exists()


def test_settings_of_tables_do_not_fit_images(data, tmp_path, capsys):
    assert run("complete", data / "images.npz", "--imputations", "2", "--out", tmp_path / "out") == 2
    assert "--imputations belongs to tables" in capsys.readouterr().err


def test_files_that_are_no_tables(tmp_path, capsys, monkeypatch):
    (tmp_path / "text.parquet").write_text("no table")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81\n")
    (tmp_path / "twice.csv").write_text("a,a\n1,\n,2\n")
    (tmp_path / "semicolons.csv").write_text("a;b\n1;2,5\n")
    (tmp_path / "tabs.csv").write_text("a\tb\n1\t2.5\n")
    found = {"absent.csv": "no such file", "text.parquet": "damaged", "binary.csv": "UTF-16", "twice.csv": "named 'a'"}
    found |= {"semicolons.csv": "separated by ';'", "tabs.csv": "separated by '\\t'"}
    for name, message in found.items():
        capsys.readouterr()
        assert run("complete", tmp_path / name, "--out", tmp_path / "out") == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    pd.DataFrame({"a": [1.0, None]}).to_csv(tmp_path / "table.csv")
    assert run("complete", tmp_path / "text.parquet", "--out", tmp_path / "out") == 2
    assert "pip install 'abpnet[tables]'" in capsys.readouterr().err
