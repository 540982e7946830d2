import json

from abpnet.web.served import find_runs
from abpnet.web.training import curve, curves, known_quantities, quantities, standing


def test_curves_are_those_of_metrics_jsonl_and_grow_with_it(learning, deep):
    runs = find_runs([learning, deep])
    rows = curves(runs, "error", "iteration")
    assert rows[:2] == [
        {"iteration": 1.0, "error": 0.5, "run": "learning"},
        {"iteration": 2.0, "error": 0.25, "run": "learning"},
    ]
    assert len(rows) == 2 + 12
    with (learning / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"iteration": 3, "seconds": 9.0, "error": 0.1}) + "\n" + '{"iteration": 4, "sec')
    assert curves(runs[:1], "error", "seconds")[-1] == {"seconds": 9.0, "error": 0.1, "run": "learning"}


def test_long_curves_are_thinned_and_keep_their_ends():
    rows = [{"iteration": index, "error": index / 7} for index in range(5000)]
    points = curve(rows, "error", "iteration")
    assert len(points) == 400
    assert (points[0], points[-1]) == ((0.0, 0.0), (4999.0, 4999 / 7))


def test_what_is_no_number_is_left_out():
    rows = [{"iteration": 1, "r_hat": None}, {"iteration": 2, "r_hat": 1.5}, {"iteration": 3, "r_hat": float("nan")}]
    assert curve(rows, "r_hat", "iteration") == [(2.0, 1.5)]
    assert curve(rows, "error", "iteration") == []


def test_quantities_that_say_most_come_first():
    rows = [{"iteration": 1, "seconds": 1.0, "other": 2.0, "energy": 3.0, "error": 0.1, "r_hat": None}]
    assert quantities([*rows, {**rows[0], "r_hat": 1.2}]) == ["error", "energy", "r_hat", "other"]


def test_where_runs_stand(learning, table, deep):
    runs = find_runs([learning, table, deep])
    assert [row[:4] for row in standing(runs)] == [
        ["learning", "objects", "learning, or interrupted", "2"],
        ["table", "complete", "finished", "1"],
        ["deep", "objects", "finished", "12"],
    ]
    assert known_quantities(runs)[:2] == ["error", "latent_std"]


def test_a_damaged_file_leaves_the_other_runs_alone(learning, deep):
    (learning / "metrics.jsonl").write_text("nonsense\n")
    runs = find_runs([learning, deep])
    assert {row["run"] for row in curves(runs, "error", "iteration")} == {"deep"}
    assert standing(runs)[0][3] == "0"
