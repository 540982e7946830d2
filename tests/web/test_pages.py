"""The pages in a browser, headless: what is clicked, painted and uploaded, and what comes of it."""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abpnet.interpolation import latent_grid
from abpnet.runs import RunFolder
from abpnet.web import latent_space
from abpnet.web.pages.parts import shown
from abpnet.web.served import find_runs

if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed: pip install 'abpnet[web]'", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no chromium: apt-get install chromium", allow_module_level=True)

TABS = ("Latent space", "Repair", "Synthesise", "Training", "Compare")
# A busy machine takes its time; where all is well nothing waits so long.
PATIENCE = 180_000


@pytest.fixture(scope="module")
def going_on(tmp_path_factory):
    """A run that is learning still."""
    folder = RunFolder.create(tmp_path_factory.mktemp("web") / "going on", "objects", {"source": "images.npz"})
    folder.log({"iteration": 1, "seconds": 1.0, "error": 0.5, "latent_std": 1.0, "latent_divergence": 0.1})
    folder.release()
    return folder.path


@pytest.fixture(scope="module")
def address(flat, deep, texture, sound, video, going_on):
    """Of a server of all these runs."""
    command = [sys.executable, "-m", "abpnet", "serve", flat, deep, texture, sound, video, going_on, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = server.stdout.readline()
            yield re.match(r"http://127\.0\.0\.1:\d+", line).group()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened(browser, address, **settings):
    """A page, of which no request leaves this machine and no script fails."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 1000}} | settings)
    page.set_default_timeout(PATIENCE)
    foreign, errors = [], []
    ours = (f"{address}/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(ours) else foreign.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.get_by_text("training examples,").first.wait_for()
    page.locator(".thumbnail-item:visible").first.wait_for()
    yield page
    page.close()
    assert foreign == []
    assert errors == []


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page


def turn_to(page, tab):
    page.get_by_role("tab", name=tab).click()


def choose(page, label, name):
    page.get_by_label(label, exact=False).locator("visible=true").first.click()
    page.get_by_role("option", name=name, exact=True).click()


def picture(page, label):
    """Address and pixels of a picture, once there is one."""
    image = page.locator(".block:visible", has=page.get_by_text(label)).locator("img").first
    image.wait_for()
    source = image.get_attribute("src")
    content = page.request.get(source).body()
    return source, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def changed(page, label, before):
    """Pixels of a picture once it is another."""
    block = page.locator(".block:visible", has=page.get_by_text(label)).locator("img").first
    playwright.expect(block).not_to_have_attribute("src", before, timeout=PATIENCE)
    return picture(page, label)[1]


def test_every_page_loads_in_light_and_dark_at_any_width(browser, address):
    for settings in ({"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}, {"color_scheme": "light"}):
        with opened(browser, address, **settings) as page:
            for tab in TABS:
                if not page.get_by_role("tab", name=tab).is_visible():
                    page.locator(".overflow-menu > button").click()
                    page.locator(".overflow-dropdown").get_by_text(tab).click()
                else:
                    turn_to(page, tab)
                playwright.expect(page.get_by_role("tabpanel").locator("visible=true").first).to_be_visible()
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, tab


def test_a_script_that_asks_elsewhere_is_stopped_by_the_browser(page):
    asked = """() => new Promise(resolve => {
        document.addEventListener("securitypolicyviolation", event => resolve(event.blockedURI));
        fetch("https://elsewhere.example/font.woff2").catch(() => {});
    })"""
    assert page.evaluate(asked).startswith("https://elsewhere.example")
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.request.get(page.url).text())


def test_a_click_on_the_grid_stands_where_the_image_is_made(page, flat):
    network = find_runs([flat])[0].network()
    before, _ = picture(page, "f(z) where you stand")
    grid = page.locator(".block:visible", has=page.get_by_text("f(z) for z from")).locator("img").first
    box = grid.bounding_box()
    grid.click(position={"x": box["width"] * 7.5 / 9, "y": box["height"] * 2.5 / 9})
    seen = changed(page, "f(z) where you stand", before)
    z = latent_grid(2)[2 * 9 + 7]
    np.testing.assert_allclose(seen.astype(int), shown(latent_space.decoded(network, z[None])[0]), atol=1)
    assert float(page.get_by_label("number input for factor 1").input_value()) == pytest.approx(z[0])


def test_a_slider_moved_by_the_keyboard_changes_the_picture(page, flat):
    network = find_runs([flat])[0].network()
    before, _ = picture(page, "f(z) where you stand")
    slider = page.get_by_role("slider").locator("visible=true").first
    slider.focus()
    page.keyboard.press("End")
    assert slider.evaluate("slider => getComputedStyle(slider).outlineStyle") == "solid", "one sees where one is"
    seen = changed(page, "f(z) where you stand", before)
    reach = latent_space.reach_of(network.latents_, latent_space.main_axes(network.latents_, 2))
    expected = latent_space.decoded(network, np.array([[reach, 0.0]]))[0]
    np.testing.assert_allclose(seen.astype(int), shown(expected), atol=1)


def test_examples_become_corners_of_a_walk_on_the_sphere(page, deep):
    network = find_runs([deep])[0].network()
    choose(page, "Run", "deep")
    page.get_by_text("direction 1:").first.wait_for()
    for example in (3, 5):
        before, _ = picture(page, "f(z) where you stand")
        page.locator(".thumbnail-item:visible").nth(example).click()
        changed(page, "f(z) where you stand", before)
        page.get_by_role("button", name="Keep this place").click()
        page.locator(".block:visible", has=page.get_by_text("Corners")).locator(".thumbnail-item").nth(
            0 if example == 3 else 1
        ).wait_for()
    before, _ = picture(page, "f(z) on the way")
    way = page.get_by_label("range slider for Way from the first corner")
    way.focus()
    page.keyboard.press("End")
    seen = changed(page, "f(z) on the way", before)
    expected = shown(latent_space.decoded(network, network.latents_[5:6])[0])
    np.testing.assert_allclose(seen.astype(int), expected, atol=2)


def test_a_hole_is_painted_and_repaired(page):
    turn_to(page, "Repair")
    canvas = page.locator("canvas:visible").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    repair = page.get_by_role("button", name="Repair", exact=True)
    repair.click()
    page.get_by_text("nothing is hidden").wait_for()
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # until the canvas has come to rest
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y)
    page.mouse.down()
    page.mouse.move(x + 50, y, steps=10)
    page.mouse.up()
    repair.click()
    told = page.get_by_text("of the pixels were hidden")
    told.wait_for()
    share = float(told.inner_text().split("%")[0])
    assert 2 <= share <= 15
    for label in ("Inference: f(z)", "Repaired", "How sure", "5 draws"):
        assert picture(page, label)[1].std() > 1, label
    certain = (picture(page, "How sure")[1].astype(int).sum(2) < 10).mean()
    assert certain == pytest.approx(1 - share / 100, abs=0.02)


def test_a_bad_upload_gets_a_message_and_a_good_one_is_resized(page, tmp_path):
    turn_to(page, "Repair")
    (tmp_path / "text.png").write_text("no picture")
    chooser = page.get_by_role("button", name="Upload a picture").locator("visible=true")
    with page.expect_file_chooser() as chosen:
        chooser.click()
    chosen.value.set_files(tmp_path / "text.png")
    page.get_by_text("text.png: not an image that is read").wait_for()
    assert "Traceback" not in page.content()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)).save(tmp_path / "good.png")
    with page.expect_file_chooser() as chosen:
        chooser.click()
    chosen.value.set_files(tmp_path / "good.png")
    page.get_by_text("resized from 80 x 50 to 16 x 16 pixels and colours turned into shades of grey").wait_for()
    page.get_by_role("button", name="Hide at random").locator("visible=true").click()
    page.get_by_role("button", name="Repair", exact=True).click()
    page.get_by_text("50% of the pixels were hidden").wait_for()


def test_what_each_run_learned_is_synthesised_and_what_it_cannot_do_is_said(page):
    turn_to(page, "Synthesise")
    panel = page.get_by_role("tabpanel").locator("visible=true")
    choose(page, "Run", "going on")
    panel.get_by_text("has not finished learning").wait_for()
    choose(page, "Run", "deep")
    before, _ = picture(page, "f(z), z drawn from the prior")
    page.get_by_label("Seed").locator("visible=true").fill("3")
    page.get_by_role("button", name="New images").click()
    changed(page, "f(z), z drawn from the prior", before)
    choose(page, "Run", "texture")
    page.get_by_role("button", name="New texture").click()
    panel.locator("img:visible").first.wait_for()
    with page.expect_download() as download:
        panel.get_by_label("Download").first.click()
    assert Image.open(download.value.path()).size == (384, 256)
    choose(page, "Run", "sound")
    page.get_by_role("button", name="New sound").click()
    assert picture(page, "Waveform and spectrogram")[1].std() > 1
    assert panel.locator("audio").count() or panel.locator(".waveform-container").count()
    choose(page, "Run", "video")
    page.get_by_role("button", name="New video").click()
    panel.locator("img:visible").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download MP4").click()
    assert b"ftyp" in Path(download.value.path()).read_bytes()[:12]
    turn_to(page, "Repair")
    choose(page, "Run", "texture")
    page.get_by_text("texture learned a texture, whose factors are a map").locator("visible=true").first.wait_for()


def test_training_is_followed_while_it_goes_on(page, going_on):
    turn_to(page, "Training")
    page.get_by_text("error on observed entries").first.wait_for()
    page.get_by_role("gridcell", name="0.5000").or_(page.get_by_text("0.5000")).first.wait_for()
    row = {"iteration": 2, "seconds": 2.0, "error": 0.1234, "latent_std": 1.0, "latent_divergence": 0.1}
    with (going_on / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    page.get_by_text("0.1234").first.wait_for()


def test_two_runs_repair_the_same_picture(page):
    turn_to(page, "Compare")
    page.get_by_label("Another run").locator("visible=true").first.click()
    offered = [text.removeprefix("✓").strip() for text in page.get_by_role("option").all_inner_texts()]
    assert offered == ["flat", "deep", "video", "going on"], "nor a texture nor a sound"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Hide at random").locator("visible=true").click()
    page.get_by_role("button", name="Repair by both").click()
    repaired = [picture(page, f"{name} run: repaired")[1] for name in ("One", "Another")]
    assert repaired[0].shape == repaired[1].shape
    same = (repaired[0] == repaired[1]).all(2).mean()
    assert 0.4 < same < 0.75, "what was seen is the same, what was hidden is not"
    page.get_by_role("button", name="samples of both").click()
    assert (picture(page, "One run: samples")[1] != picture(page, "Another run: samples")[1]).any()
