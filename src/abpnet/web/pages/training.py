"""Page: how learning went, or goes."""

from collections.abc import Sequence
from typing import Any

from abpnet.web import training
from abpnet.web.pages.parts import hint
from abpnet.web.served import ServedRun

__all__ = ["page"]

SECONDS_BETWEEN = 2.0
AGAINST = {"passes": "iteration", "seconds": "seconds"}
HEADERS = ["run", "command", "status", "passes", "seconds", "error"]


def page(blocks: Any, served: Sequence[ServedRun]) -> None:
    """Lay out the page.

    Args:
        blocks: The whole explorer.
        served: All runs.
    """
    import gradio as gr
    import pandas as pd

    hint(f"Runs that go on are read again every {SECONDS_BETWEEN:.0f} seconds.")
    names = [(run.name, index) for index, run in enumerate(served)]
    seen = gr.State()
    with gr.Row():
        which = gr.CheckboxGroup(names, value=[index for _, index in names], label="Runs", visible=len(served) > 1)
        against = gr.Radio(list(AGAINST), value="passes", label="Against")
    plots = [
        gr.LinePlot(
            x="iteration",
            y=name,
            color="run",
            title=title,
            x_title="passes",
            y_title=" ",
            height=260,
            buttons=["export", "fullscreen"],
            tooltip="all",
        )
        for name, title in list(training.TITLES.items())[:3]
    ]
    table = gr.Dataframe(headers=HEADERS, interactive=False, label="Where they stand", wrap=True, buttons=["copy"])
    timer = gr.Timer(SECONDS_BETWEEN)

    def look(indices: list[int], versus: str) -> list[Any]:
        runs, x = [served[index] for index in indices], AGAINST[versus]
        frames = []
        for name in list(training.TITLES)[:3]:
            rows = training.curves(runs, name, x)
            frames.append(gr.LinePlot(value=pd.DataFrame(rows, columns=[x, name, "run"]), x=x, x_title=versus))
        return [*frames, training.standing(runs)]

    def look_again(indices: list[int], versus: str, before: Any) -> list[Any]:
        now = (versus, training.standing([served[index] for index in indices]))
        if now == before:
            return [gr.skip()] * (len(plots) + 2)
        return [*look(indices, versus), now]

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on([blocks.load, which.change, against.change], look, [which, against], [*plots, table], **private)
    timer.tick(look_again, [which, against, seen], [*plots, table, seen], **private)
