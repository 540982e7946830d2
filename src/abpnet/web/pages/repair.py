"""Page: repair of one picture, watched while it goes on."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from abpnet import figures
from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.web import repairing
from abpnet.web.pages.painting import hidden_by, painting
from abpnet.web.pages.parts import COMPUTING, hint, picture, present, refused, shown, told
from abpnet.web.pictures import enlarged, factor_of, fit, map_colours
from abpnet.web.served import ServedRun, image_network

__all__ = ["certainty", "page"]

WANTED = "the page Repair"
DRAWS_SIDE = 800
# Steps of inference from one picture of it to the next.
SHOWN_EVERY = 2
# Standard deviation that is shown as white, as a fraction of the range of brightness.
WHITE = 0.3
CERTAINTY = (
    f"How sure: black = certain, white = standard deviation of {WHITE:.0%} of the range, over {repairing.N_DRAWS} draws"
)


def certainty(deviation: np.ndarray) -> np.ndarray:
    """The map of standard deviations as a picture."""
    return enlarged(map_colours(deviation, WHITE))


def _strip(images: np.ndarray) -> np.ndarray:
    return figures.grid(images, len(images), factor_of(images.shape[2:], DRAWS_SIDE // len(images)))


def page(blocks: Any, served: Sequence[ServedRun], run: Any, limits: Limits) -> None:
    """Lay out the page.

    Args:
        blocks: The whole explorer.
        served: All runs.
        run: Which of them is looked at.
        limits: Of uploaded pictures.
    """
    import gradio as gr

    refusal = gr.Markdown(visible=False)
    with gr.Column() as whole, gr.Row():
        with gr.Column(scale=1, min_width=300):
            inputs = painting(blocks, served, run, limits)
            start = gr.Button("Repair", variant="primary")
        with gr.Column(scale=1, min_width=300):
            progress = hint("Choose a picture, paint over a part of it, and press Repair.")
            with gr.Row():
                watched = picture("Inference: f(z), step by step", visible=False, min_width=220)
                completed = picture("Repaired", visible=False, min_width=220)
            sure = picture(CERTAINTY, visible=False)
            draws = picture(f"{repairing.N_SHOWN} draws: the picture might as well be any of these", visible=False)

    absent = gr.update(value=None, visible=False)

    def see(index: int) -> tuple[Any, ...]:
        try:
            image_network(served[index], WANTED)
        except InputError as error:
            return gr.update(value=refused(error), visible=True), gr.update(visible=False), *[gr.skip()] * 5
        told_first = "Choose a picture, paint over a part of it, and press Repair."
        return gr.update(visible=False), gr.update(visible=True), told_first, *[absent] * 4

    def go(index: int, chosen: Any, random: Any, paint: Any) -> Iterator[tuple[Any, ...]]:
        with told():
            network = image_network(served[index], WANTED)
            if chosen is None:
                raise InputError("choose a picture first")
            image = fit(chosen, network.signal_shape_).image
            image = np.where(hidden_by(paint, random, *image.shape[1:]), np.float32(np.nan), image)
            for step in islice(repairing.steps(network, image), 0, None, SHOWN_EVERY):
                text = (
                    f"Step {step.number} of {repairing.N_STEPS}: f(z) differs by {step.misfit:.3f} from what is seen."
                )
                yield text, present(shown(step.signal)), *[absent] * 3
            yield f"{text} Now drawing from the posterior ...", *[gr.skip()] * 4
            done = repairing.repair(network, image, step.z)
            error = repairing.hidden_error(done.completed, fit(chosen, network.signal_shape_).image, image)
            text = f"{np.isnan(image[0]).mean():.0%} of the pixels were hidden."
            if error is not None:
                text += f" If what lies under the paint is the truth, the error there is {error:.3f} of the range."
            results = shown(done.completed), certainty(done.deviation), _strip(done.draws)
            yield text, gr.skip(), *(present(result) for result in results)

    outputs = [progress, watched, completed, sure, draws]
    gr.on([blocks.load, run.change], see, run, [refusal, whole, *outputs], show_progress="hidden", **COMPUTING)
    start.click(go, [run, *inputs], outputs, show_progress="hidden", **COMPUTING)
