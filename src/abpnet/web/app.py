"""The explorer's page: which run, and what of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.web.served import ServedRun

__all__ = ["STYLE", "description", "explorer", "theme"]

SECONDS_KEPT = 3600
STYLE = """
.pixels img, .pixels canvas { image-rendering: pixelated; }
:is(.pixels, .plain) [data-testid="block-label"] { position: static; border: 0; white-space: normal; width: auto; }
.thumbnails .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
.thumbnails .grid-container { grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)) !important; }
.thumbnails .grid-container { grid-template-rows: auto !important; grid-auto-rows: auto !important; }
.thumbnails .grid-container { height: auto !important; padding-top: 0 !important; }
.thumbnails .thumbnail-item { aspect-ratio: 1; width: 100%; height: auto; }
.thumbnails .caption-label { font-size: .65rem; padding: 0 .3rem; }
.quiet { opacity: .85; font-size: .95rem; }
:is([type="range"], [role="combobox"]):focus-visible {
outline: 2px solid currentColor !important; outline-offset: 3px !important;
}
table, .gradio-container .table-wrap { font-family: inherit !important; }
@media (min-width: 800px) {
.walks { display: grid !important; grid-template-columns: 3fr 2fr; grid-template-rows: auto 1fr; }
.walks > :nth-child(2) { grid-column: 2; grid-row: 1 / span 2; }
}
@media (max-width: 480px) { .tab-container button { padding: 0 .3rem; font-size: .8rem; } }
footer { display: none !important; }
"""


def theme() -> Any:
    """Colours, and fonts that every system has."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="gray",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def description(run: ServedRun) -> str:
    """One line about a run."""
    try:
        network = run.network()
    except InputError as error:
        return f"`abpnet {run.command}`, {run.status()}. {error}"
    shape, latent_shape = network.signal_shape_, network.model_.latent_shape
    factors = " x ".join(str(size) for size in latent_shape)
    n_weights = sum(weight.numel() for weight in network.model_.network.parameters())
    grey = len(shape) == 2 or shape[0] == 1
    what = {
        "images": f"{'grey' if grey else 'colour'} images of {shape[-1]} x {shape[-2]} pixels"
        if len(shape) > 1
        else "",
        "video": "a video",
        "texture": "a texture",
        "sound": "a sound",
        "signals": f"signals of shape {shape}",
    }[run.kind()]
    told = "latent factors" + {1: "", 2: " (a sequence)"}.get(len(latent_shape), " (a map)")
    return (
        f"`abpnet {run.command}`: {what}; {factors} {told}, {len(network.latents_):,} training examples, "
        f"{n_weights:,} weights. {run.status().capitalize()}."
    )


def explorer(served: Sequence[ServedRun], limits: Limits) -> Any:
    """The page as Gradio's Blocks.

    Args:
        served: All runs.
        limits: Of uploaded pictures.
    """
    import gradio as gr

    from abpnet.web.pages import compare, latent_space, repair, synthesise, training

    with gr.Blocks(title="abpnet explorer", analytics_enabled=False, delete_cache=(SECONDS_KEPT,) * 2) as blocks:
        gr.Markdown("# abpnet explorer")
        choices = [(run.name, index) for index, run in enumerate(served)]
        run = gr.Dropdown(
            choices, value=0, label="Run, for the first three pages", visible=len(served) > 1, filterable=False
        )
        about = gr.Markdown(description(served[0]), elem_classes="quiet")
        run.change(lambda index: description(served[index]), run, about, show_progress="hidden")
        with gr.Tab("Latent space"):
            latent_space.page(blocks, served, run)
        with gr.Tab("Repair"):
            repair.page(blocks, served, run, limits)
        with gr.Tab("Synthesise"):
            synthesise.page(blocks, served, run)
        with gr.Tab("Training"):
            training.page(blocks, served)
        with gr.Tab("Compare"):
            compare.page(blocks, served, limits)
    return blocks
