"""Page: two runs side by side on the same inputs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from abpnet import figures
from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.web import repairing, synthesis
from abpnet.web.pages.painting import hidden_by, painting
from abpnet.web.pages.parts import COMPUTING, hint, picture, present, shown, told
from abpnet.web.pages.repair import CERTAINTY, certainty
from abpnet.web.pictures import factor_of, fit
from abpnet.web.served import ServedRun, image_network, may_have_images

__all__ = ["page"]

WANTED = "the page Compare"
N_SAMPLES, SHEET_SIDE = 16, 480


def page(blocks: Any, served: Sequence[ServedRun], limits: Limits) -> None:
    """Lay out the page.

    Args:
        blocks: The whole explorer.
        served: All runs.
        limits: Of uploaded pictures.
    """
    import gradio as gr

    choices = [(run.name, index) for index, run in enumerate(served) if may_have_images(run)]
    if len(choices) < 2:
        gr.Markdown("**Two runs of images are needed.** Name both on the command line: `abpnet serve RUN RUN`.")
        return
    with gr.Row():
        left = gr.Dropdown(choices, value=choices[0][1], label="One run", filterable=False)
        right = gr.Dropdown(choices, value=choices[1][1], label="Another run", filterable=False)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            inputs = painting(blocks, served, left, limits)
        with gr.Column(scale=1, min_width=300):
            hint("Both repair the same picture with the same hole, and draw as many samples from the same seed.")
            start = gr.Button("Repair by both", variant="primary")
            sample = gr.Button(f"{N_SAMPLES} samples of both")
            table = gr.Dataframe(
                headers=["run", "error on hidden pixels", "deviation there"],
                interactive=False,
                wrap=True,
                visible=False,
            )
    outputs = []
    with gr.Row():
        for name in ("One run", "Another run"):
            with gr.Column(scale=1, min_width=300):
                titles = f"{name}: repaired", f"{name}: {CERTAINTY[0].lower()}{CERTAINTY[1:]}", f"{name}: samples"
                outputs.append([picture(title, visible=False) for title in titles])

    def networks_of(one: int, other: int) -> list[GeneratorNetwork]:
        """Both, before anything is computed by one of them in vain."""
        return [image_network(served[index], WANTED) for index in (one, other)]

    def repaired(network: GeneratorNetwork, chosen: np.ndarray, random: Any, paint: Any) -> tuple[Any, ...]:
        truth = fit(chosen, network.signal_shape_).image
        height, width = truth.shape[1:]
        if random is not None and random.shape != (height, width):
            random = hidden_by(random, None, height, width)
        image = np.where(hidden_by(paint, random, height, width), np.float32(np.nan), truth)
        *_, last = repairing.steps(network, image)
        done = repairing.repair(network, image, last.z)
        error = repairing.hidden_error(done.completed, truth, image)
        deviation = float(done.deviation[np.isnan(image).any(0)].mean())
        row = ["-" if error is None else f"{error:.4f}", f"{deviation:.4f}"]
        return shown(done.completed), certainty(done.deviation), row

    def both(one: int, other: int, chosen: Any, random: Any, paint: Any) -> Iterator[tuple[Any, ...]]:
        with told():
            if chosen is None:
                raise InputError("choose a picture first")
            rows, found = [], []
            for index, network in zip((one, other), networks_of(one, other), strict=True):
                *of_one, row = repaired(network, chosen, random, paint)
                found.append(of_one)
                rows.append([served[index].name, *row])
                pictures = [present(image) for each in found for image in each]
                yield present(rows), *pictures, *[gr.update(visible=False)] * (4 - len(pictures))

    def samples(one: int, other: int) -> tuple[Any, ...]:
        with told():
            sheets = []
            for network in networks_of(one, other):
                images = synthesis.new_images(network, N_SAMPLES, 0)
                sheets.append(present(figures.grid(images, 4, factor_of(images.shape[2:], SHEET_SIDE // 4))))
            return tuple(sheets)

    repairs = [outputs[0][0], outputs[0][1], outputs[1][0], outputs[1][1]]
    start.click(both, [left, right, *inputs], [table, *repairs], show_progress="minimal", **COMPUTING)
    sample.click(samples, [left, right], [outputs[0][2], outputs[1][2]], show_progress="minimal", **COMPUTING)
