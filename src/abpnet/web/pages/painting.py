"""What Repair and Compare share: a picture is chosen, and painted over where it is to be repaired."""

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from abpnet.data.limits import Limits
from abpnet.data.pictures import decode
from abpnet.errors import InputError
from abpnet.web import holes
from abpnet.web.examples import examples
from abpnet.web.pages.parts import COMPUTING, gallery, hint, shown, thumbnails, told
from abpnet.web.pictures import Fitted, fit, read_upload
from abpnet.web.served import ServedRun, image_network

__all__ = ["Painting", "hidden_by", "painting"]

N_EXAMPLES, CANVAS = 16, 384
PAINT = "#d64880"
LARGEST_PAINT = Limits(max_pixels=2**24, max_bytes=2**28)


class Painting(NamedTuple):
    """Where the chosen picture and its holes are kept.

    Attributes:
        picture: State: (c, h, w) as it was chosen, NaN = missing; None before that.
        hidden: State: bool (h, w) of the model's size, hidden at random.
        canvas: The picture with what was painted; as a value, where there is paint.
    """

    picture: Any
    hidden: Any
    canvas: Any


def _paint(content: Any) -> np.ndarray:
    """Where a layer of the canvas is painted, bool (h, w)."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        if isinstance(content, bytes | bytearray | memoryview):
            file.write(content)
            file.flush()
        path = file.name if isinstance(content, bytes | bytearray | memoryview) else content.path
        return np.asarray(decode(path, LARGEST_PAINT).convert("RGBA"))[..., 3] > 0


def _canvas(**settings: Any) -> Any:
    """A canvas of whose content only where there is paint is decoded, by the reader of all pictures."""
    import gradio as gr

    canvas: Any = gr.ImageEditor(**settings)

    def preprocess(payload: Any) -> np.ndarray | None:
        if payload is None:
            return None
        content = payload if payload.id is None else canvas.blob_storage.pop(payload.id, None)
        layers = [_paint(layer) for layer in (content.layers if content else []) if layer is not None]
        return np.any(layers, axis=0) if layers else None

    canvas.preprocess = preprocess
    return canvas


def hidden_by(paint: np.ndarray | None, random: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Pixels of a model's size that were painted, or hidden at random."""
    hidden = np.zeros((height, width), bool)
    if paint is not None and paint.any():
        hidden |= holes.painted_pixels(paint, height, width)
    if random is not None and random.shape == hidden.shape:
        hidden |= random
    return hidden


def _on_canvas(image: np.ndarray, hidden: np.ndarray | None = None) -> dict[str, Any]:
    seen = image if hidden is None else np.where(hidden, np.float32(np.nan), image)
    background = shown(seen)
    return {"background": background, "layers": [], "composite": background}


def painting(blocks: Any, served: Sequence[ServedRun], run: Any, limits: Limits) -> Painting:
    """Lay out what a picture is chosen by, and a canvas to paint on.

    Args:
        blocks: The whole explorer.
        served: All runs.
        run: Which of them the picture is for.
        limits: Of uploaded pictures.
    """
    import gradio as gr

    chosen, hidden, draws = gr.State(), gr.State(), gr.State(0)
    at_hand = gallery("Pick a picture", columns=8)
    upload = gr.UploadButton("Upload a picture", size="sm")
    note = hint("")
    hint("Paint over what is to be repaired, or hide pixels at random:")
    canvas = _canvas(
        label="Picture to paint on",
        show_label=False,
        height=CANVAS + 80,
        sources=(),
        transforms=(),
        layers=False,
        buttons=["download"],
        brush=gr.Brush(default_size=28, colors=[PAINT], color_mode="fixed"),
        eraser=gr.Eraser(default_size=28),
        canvas_size=(CANVAS, CANVAS),
        elem_classes="pixels",
    )
    with gr.Row():
        kind = gr.Radio(["scattered pixels", "one square"], value="scattered pixels", label="Hide at random")
        share = gr.Slider(0, 95, 50, step=5, label="% of the picture")
    with gr.Row():
        draw = gr.Button("Hide at random", size="sm")
        clear = gr.Button("Hide nothing", size="sm")

    def shape_of(index: int) -> tuple[int, ...]:
        return image_network(served[index], "a picture").signal_shape_

    def put(fitted: Fitted, picture: np.ndarray, what: str) -> tuple[Any, ...]:
        transparent = bool(np.isnan(fitted.image).any())
        notes = [what, fitted.note, "Transparent pixels count as hidden." if transparent else ""]
        return picture, None, _on_canvas(fitted.image), " ".join(part for part in notes if part)

    def see(index: int, picture: Any) -> tuple[Any, ...]:
        try:
            found = examples(served[index], 0, N_EXAMPLES)
        except InputError:
            return [], picture, None, None, ""
        shape = shape_of(index)
        kept = found.images[0] if picture is None else picture
        return (
            gr.update(value=thumbnails(found.images), label=f"Pick a picture: {found.what}"),
            *put(fit(kept, shape), kept, ""),
        )

    def pick(index: int, event: gr.SelectData) -> tuple[Any, ...]:
        with told():
            image = examples(served[index], event.index, 1).images[0]
            return put(fit(image, shape_of(index)), image, "")

    def read(index: int, path: str) -> tuple[Any, ...]:
        with told():
            picture = read_upload(path, limits)
            return put(fit(picture, shape_of(index)), picture, "")

    def hide(index: int, picture: Any, random: Any, paint: Any, which: str, percent: float, n: int) -> tuple[Any, ...]:
        with told():
            if picture is None:
                raise InputError("choose a picture first")
            image = fit(picture, shape_of(index)).image
            height, width = image.shape[1:]
            more = holes.random_pixels(which, percent / 100, height, width, n)
            both = hidden_by(paint, random, height, width) | more
            return both, _on_canvas(image, both), n + 1

    def uncover(index: int, picture: Any) -> tuple[Any, Any]:
        with told():
            return None, None if picture is None else _on_canvas(fit(picture, shape_of(index)).image)

    quick: dict[str, Any] = COMPUTING | {"show_progress": "hidden"}
    settled = [chosen, hidden, canvas, note]
    gr.on([blocks.load, run.change], see, [run, chosen], [at_hand, *settled], **quick)
    at_hand.select(pick, run, settled, **quick)
    upload.upload(read, [run, upload], settled, **quick)
    draw.click(hide, [run, chosen, hidden, canvas, kind, share, draws], [hidden, canvas, draws], **quick)
    clear.click(uncover, [run, chosen], [hidden, canvas], **quick)
    return Painting(chosen, hidden, canvas)
