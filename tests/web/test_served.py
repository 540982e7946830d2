import shutil

import pytest

from abpnet.errors import InputError
from abpnet.web.served import find_runs, image_network, may_have_images


def test_a_run_is_known_by_its_folder(deep):
    (run,) = find_runs([deep])
    assert (run.name, run.command, run.status(), run.kind()) == ("deep", "objects", "finished", "images")
    assert image_network(run, "this").latents_.shape == (60, 5)
    assert [row["iteration"] for row in run.rows()] == list(range(1, 13))


def test_a_model_is_loaded_once_and_again_when_it_changes(deep, flat, tmp_path):
    shutil.copytree(deep, tmp_path / "run")
    (run,) = find_runs([tmp_path / "run"])
    before = run.network()
    assert run.network() is before
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.copytree(flat / "model", tmp_path / "run" / "model")
    (tmp_path / "run" / "model").touch()
    assert run.network().latents_.shape == (60, 2)


def test_a_folder_of_parts_is_served_part_by_part(deep, flat, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    shutil.copy(deep / "config.json", whole)
    for name, part in {"d100": deep, "d20": flat}.items():
        shutil.copytree(part, whole / name)
    assert [run.name for run in find_runs([whole])] == ["whole/d20", "whole/d100"]
    shutil.copytree(deep / "model", whole / "model")
    assert [run.name for run in find_runs([whole])] == ["whole", "whole/d20", "whole/d100"]


def test_names_of_runs_differ_and_no_run_comes_twice(deep, tmp_path):
    shutil.copytree(deep, tmp_path / "deep")
    runs = find_runs([deep, tmp_path / "deep", deep])
    assert len(runs) == 2
    assert len({run.name for run in runs}) == 2
    assert runs[1].name == str((tmp_path / "deep").resolve())


def test_a_saved_model_is_served_with_the_history_it_keeps(deep):
    (run,) = find_runs([deep / "model"])
    assert (run.command, run.status(), len(run.rows())) == ("saved model", "saved model", 12)
    assert image_network(run, "this").latents_.shape == (60, 5)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="not the folder of a run"):
        find_runs([tmp_path])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"not the config\.json of an abpnet run"):
        find_runs([tmp_path])


def test_a_run_without_a_model_says_why(learning, table):
    going_on, of_a_table = find_runs([learning, table])
    assert going_on.status() == "learning, or interrupted"
    with pytest.raises(InputError, match="has not finished learning"):
        going_on.kind()
    with pytest.raises(InputError, match="keeps no model"):
        of_a_table.kind()
    assert [row["iteration"] for row in going_on.rows()] == [1, 2]


def test_a_run_of_other_signals_says_what_it_learned(texture, sound, video):
    of_texture, of_sound, of_video = find_runs([texture, sound, video])
    assert [run.kind() for run in (of_texture, of_sound, of_video)] == ["texture", "sound", "video"]
    with pytest.raises(InputError, match="texture learned a texture, whose factors are a map; Repair needs"):
        image_network(of_texture, "Repair")
    with pytest.raises(InputError, match="sound learned a sound"):
        image_network(of_sound, "Repair")
    assert image_network(of_video, "Repair").latents_.shape == (40, 4), "single frames are images"


def test_runs_of_textures_and_sounds_are_not_compared_with_images(deep, texture, sound, learning):
    assert [may_have_images(run) for run in find_runs([deep, texture, sound, learning])] == [True, False, False, True]
