"""Page: new images, textures, sounds and videos."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from abpnet import figures
from abpnet.data.videos import save_gif, save_mp4
from abpnet.errors import InputError
from abpnet.web import synthesis
from abpnet.web.pages.parts import COMPUTING, picture, present, refused, told
from abpnet.web.pictures import factor_of
from abpnet.web.served import ServedRun

__all__ = ["page"]

SHEET_SIDE, VIDEO_SIDE = 900, 256
N_FIRST = 40


def _sheet(images: np.ndarray) -> np.ndarray:
    n_columns = min(len(images), max(1, round(len(images) ** 0.5 * 1.4)))
    return figures.grid(images, n_columns, factor_of(images.shape[2:], SHEET_SIDE // n_columns))


def _files(frames: np.ndarray, rate: float) -> tuple[str, str]:
    """The video as MP4 and as GIF, enlarged without smoothing."""
    factor = factor_of(frames.shape[2:], VIDEO_SIDE)
    folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))  # deleted with all that was shown
    larger = frames.repeat(factor, 2).repeat(factor, 3)
    save_mp4(folder / "video.mp4", larger, rate)
    save_gif(folder / "video.gif", larger, rate)
    return str(folder / "video.mp4"), str(folder / "video.gif")


def page(blocks: Any, served: Sequence[ServedRun], run: Any) -> None:
    """Lay out the page.

    Args:
        blocks: The whole explorer.
        served: All runs.
        run: Which of them is looked at.
    """
    import gradio as gr

    refusal = gr.Markdown(visible=False)
    quick: dict[str, Any] = COMPUTING | {"show_progress": "minimal"}

    with gr.Column(visible=False) as images:
        with gr.Row():
            n = gr.Slider(1, synthesis.MOST_IMAGES, N_FIRST, step=1, label="How many")
            image_seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        draw = gr.Button("New images", variant="primary")
        sheet = picture("f(z), z drawn from the prior", visible=False)

    with gr.Column(visible=False) as texture:
        with gr.Row():
            height = gr.Slider(synthesis.LEAST_SIDE, synthesis.MOST_SIDE, 256, step=32, label="Height, pixels")
            width = gr.Slider(synthesis.LEAST_SIDE, synthesis.MOST_SIDE, 384, step=32, label="Width, pixels")
            texture_seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        weave = gr.Button("New texture", variant="primary")
        cloth = picture("f(z), z drawn from the prior", visible=False)

    with gr.Column(visible=False) as sound:
        with gr.Row():
            seconds = gr.Slider(1, synthesis.MOST_SECONDS, 5, step=1, label="Seconds")
            sound_seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        play = gr.Button("New sound", variant="primary")
        heard = gr.Audio(
            label="f(z), z drawn from the prior", interactive=False, format="wav", buttons=["download"], visible=False
        )
        spectrum = picture("Waveform and spectrogram", smooth=True, visible=False)

    with gr.Column(visible=False) as video:
        with gr.Row():
            n_frames = gr.Slider(10, synthesis.MOST_FRAMES, 120, step=10, label="Frames")
            video_seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        film = gr.Button("New video", variant="primary")
        moving = picture("New frames", buttons=["fullscreen"], visible=False)
        with gr.Row():
            as_mp4 = gr.DownloadButton("Download MP4", size="sm", visible=False)
            as_gif = gr.DownloadButton("Download GIF", size="sm", visible=False)

    sections = {"images": images, "texture": texture, "sound": sound, "video": video}
    results = [sheet, cloth, heard, spectrum, moving, as_mp4, as_gif]

    def new_images(index: int, how_many: float, seed: float) -> Any:
        with told():
            return present(_sheet(synthesis.new_images(served[index].network(), int(how_many), int(seed or 0))))

    def see(index: int) -> list[Any]:
        shown, message = "", gr.update(visible=False)
        try:
            shown = served[index].kind()
            if shown == "signals":
                shape = served[index].network().signal_shape_
                raise InputError(f"it makes signals of shape {shape}, which are neither seen nor heard here")
        except InputError as error:
            message = gr.update(value=refused(error), visible=True)
        visible = [gr.update(visible=kind == shown) for kind in sections]
        emptied = [gr.update(value=None, visible=False)] * len(results)
        if shown == "images":  # what takes no time is there at once
            emptied[0] = new_images(index, N_FIRST, 0)
        return [message, *visible, *emptied]

    def new_texture(index: int, down: float, right: float, seed: float) -> Any:
        with told():
            image = synthesis.new_texture(served[index].network(), int(down), int(right), int(seed or 0))
            return present(figures.colours(image))

    def new_sound(index: int, length: float, seed: float) -> tuple[Any, Any]:
        with told():
            samples, rate = synthesis.new_sound(served[index].network(), length, int(seed or 0))
            with tempfile.TemporaryDirectory() as folder:
                figures.save_sounds(Path(folder) / "sound.png", {"new sound": samples}, rate)
                pixels = np.asarray(Image.open(Path(folder) / "sound.png").convert("RGB"))
            return present((rate, (samples * 32767).astype(np.int16))), present(pixels)

    def new_video(index: int, how_many: float, seed: float) -> tuple[Any, ...]:
        with told():
            clip = synthesis.new_video(served[index], int(how_many), int(seed or 0))
            mp4, gif = _files(clip.frames, clip.frame_rate)
            return present(gif), present(mp4), present(gif)

    gr.on(
        [blocks.load, run.change],
        see,
        run,
        [refusal, *sections.values(), *results],
        show_progress="hidden",
        **COMPUTING,
    )
    draw.click(new_images, [run, n, image_seed], sheet, **quick)
    weave.click(new_texture, [run, height, width, texture_seed], cloth, **quick)
    play.click(new_sound, [run, seconds, sound_seed], [heard, spectrum], **quick)
    film.click(new_video, [run, n_frames, video_seed], [moving, as_mp4, as_gif], **quick)
