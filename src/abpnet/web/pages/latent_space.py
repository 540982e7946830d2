"""Page: walks in the latent space."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from abpnet import figures
from abpnet.errors import InputError
from abpnet.web import latent_space
from abpnet.web.latent_space import Axes, Place
from abpnet.web.pages.parts import COMPUTING, gallery, hint, picture, present, refused, shown, thumbnails, told
from abpnet.web.pictures import factor_of
from abpnet.web.served import ServedRun, image_network

__all__ = ["page"]

N_SLIDERS, N_EXAMPLES = 8, 24
GRID_SIDE, SQUARE_SIDE = 560, 640
WANTED = "the page Latent space"


def _axes(run: ServedRun) -> tuple[Any, Axes]:
    network = image_network(run, WANTED)
    return network, latent_space.main_axes(network.latents_, N_SLIDERS)


def _sheet(images: np.ndarray, n_columns: int, side: int) -> np.ndarray:
    return figures.grid(images, n_columns, factor_of(images.shape[2:], side // n_columns))


def page(blocks: Any, served: Sequence[ServedRun], run: Any) -> None:
    """Lay out the page.

    Args:
        blocks: The whole explorer.
        served: All runs.
        run: Which of them is looked at.
    """
    import gradio as gr

    rest, corners, first = gr.State(), gr.State([]), gr.State(0)
    refusal = gr.Markdown(visible=False)
    with gr.Column() as whole:
        with gr.Row(elem_classes="walks"):
            with gr.Column(scale=3, min_width=300):
                hint("Click an image to stand where it is made; then walk by the sliders.")
                grid = picture("f(z) for z from -2 to 2: factor 1 grows to the right, factor 2 downwards")
                chosen = gallery("Training examples, as the run explains them: f(z) at their chains", columns=8)
                more = gr.Button("Next examples", size="sm")
            with gr.Column(scale=2, min_width=300):
                here = picture("f(z) where you stand")
                sliders = [gr.Slider(-3, 3, 0, step=0.05, label=f"direction {k + 1}") for k in range(N_SLIDERS)]
                middle = gr.Button("Back to the middle", size="sm")
            with gr.Column(scale=3, min_width=300):
                gr.Markdown("### On the sphere between examples")
                hint("Stand at an example and keep it as a corner, up to four times; then walk from corner to corner.")
                with gr.Row():
                    keep = gr.Button("Keep this place as a corner", size="sm")
                    forget = gr.Button("Forget the corners", size="sm")
                kept = gallery("Corners", columns=4, visible=False)
                way = gr.Slider(0, 1, 0, step=0.01, label="Way from the first corner to the last", visible=False)
                between = picture("f(z) on the way", visible=False)
        square = picture("Between the corners", visible=False)

    def see(index: int) -> list[Any]:
        """All that depends on the run."""
        try:
            network, axes = _axes(served[index])
        except InputError as error:
            return [gr.update(value=refused(error), visible=True), gr.update(visible=False), *[gr.skip()] * n_other]
        few = network.latents_.shape[1] <= 2
        reach = latent_space.reach_of(network.latents_, axes)
        updates: list[Any] = [gr.update(visible=False), gr.update(visible=True)]
        images = latent_space.grid_images(network) if few else None
        updates.append(gr.update(value=None if images is None else _sheet(images, 9, GRID_SIDE), visible=few))
        for k in range(N_SLIDERS):
            name = f"factor {k + 1}" if few else f"direction {k + 1}"
            known = k < len(axes.shares)
            label = f"{name}: {axes.shares[k]:.0%} of the variance of the chains" if known else name
            updates.append(gr.update(visible=known, label=label, value=0, minimum=-reach, maximum=reach))
        place = Place(np.zeros(len(axes.shares)), np.zeros(len(axes.mean)))
        point = latent_space.point_of(place, axes)
        updates += [shown(latent_space.decoded(network, point[None])[0]), place.rest]
        return [*updates, _thumbnails(network, 0), 0, *no_corners]

    def _thumbnails(network: Any, start: int) -> list[Any]:
        return thumbnails(latent_space.decoded(network, network.latents_[start : start + N_EXAMPLES]), start)

    def stand(index: int, z: np.ndarray) -> list[Any]:
        """Picture, sliders and rest at a point."""
        network, axes = _axes(served[index])
        place = latent_space.place_of(z, axes)
        values = [round(float(value), 3) for value in place.coordinates]
        image = shown(latent_space.decoded(network, z[None])[0])
        return [image, *values, *[gr.skip()] * (N_SLIDERS - len(values)), place.rest]

    def point(index: int, remaining: np.ndarray, values: Sequence[float]) -> tuple[Any, np.ndarray]:
        network, axes = _axes(served[index])
        n_factors = len(axes.mean)
        remaining = np.zeros(n_factors) if remaining is None or len(remaining) != n_factors else remaining
        coordinates = np.array(values[: len(axes.shares)], float)
        return network, latent_space.point_of(Place(coordinates, remaining), axes)

    def walk(index: int, remaining: Any, *values: float) -> np.ndarray:
        with told():
            network, z = point(index, remaining, values)
            return shown(latent_space.decoded(network, z[None])[0])

    def to_example(index: int, start: int, event: gr.SelectData) -> list[Any]:
        with told():
            return stand(index, image_network(served[index], WANTED).latents_[start + event.index].astype(float))

    def to_cell(index: int, image: np.ndarray, event: gr.SelectData) -> list[Any]:
        with told():
            n_factors = image_network(served[index], WANTED).latents_.shape[1]
            right, down = (place / side for place, side in zip(event.index, image.shape[1::-1], strict=True))
            return stand(index, latent_space.grid_point(right, down, n_factors))

    def to_middle(index: int) -> list[Any]:
        with told():
            return stand(index, _axes(served[index])[1].mean)

    def turn(index: int, start: int) -> tuple[Any, int]:
        with told():
            network = image_network(served[index], WANTED)
            start = start + N_EXAMPLES if start + N_EXAMPLES < len(network.latents_) else 0
            return _thumbnails(network, start), start

    def add(index: int, remaining: Any, points: list[Any], *values: float) -> list[Any]:
        with told():
            if len(points) == latent_space.MOST_CORNERS:
                raise InputError(f"there are {len(points)} corners, the most that are shown; forget them to begin anew")
            network, z = point(index, remaining, values)
            points = [*points, z]
            return [points, *walkable(network, points)]

    def walkable(network: Any, points: list[np.ndarray]) -> list[Any]:
        images = present(thumbnails(latent_space.decoded(network, np.stack(points)), 1))
        if len(points) < 2:
            return [images, *no_corners[2:]]
        sheet = _sheet(latent_space.decoded(network, latent_space.corners_square(points)), 8, SQUARE_SIDE)
        start = shown(latent_space.decoded(network, points[0][None])[0])
        label = "Between the four corners" if len(points) == 4 else "From the first corner to the last"
        return [images, present(0), present(start), gr.update(value=sheet, visible=True, label=label)]

    def go(index: int, points: list[Any], share: float) -> Any:
        if len(points) < 2:
            return gr.skip()
        with told():
            network = image_network(served[index], WANTED)
            return shown(latent_space.decoded(network, latent_space.along(points, share)[None])[0])

    emptied: list[Any] = [[], 0, None, None]
    no_corners: list[Any] = [[], *[gr.update(value=value, visible=False) for value in emptied]]
    places, cornered = [here, *sliders, rest], [corners, kept, way, between, square]
    depends = [refusal, whole, grid, *sliders, here, rest, chosen, first, *cornered]
    n_other = len(depends) - 2
    quick: dict[str, Any] = COMPUTING | {"show_progress": "hidden"}
    gr.on([blocks.load, run.change], see, run, depends, **quick)
    for slider in sliders:
        slider.input(walk, [run, rest, *sliders], here, trigger_mode="always_last", **quick)
    chosen.select(to_example, [run, first], places, **quick)
    grid.select(to_cell, [run, grid], places, **quick)
    middle.click(to_middle, run, places, **quick)
    more.click(turn, [run, first], [chosen, first], **quick)
    keep.click(add, [run, rest, corners, *sliders], cornered, **quick)
    forget.click(lambda: no_corners, None, cornered, **quick)
    way.input(go, [run, corners, way], between, trigger_mode="always_last", **quick)
