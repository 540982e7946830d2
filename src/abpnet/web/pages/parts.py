"""What several pages share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from abpnet.errors import InputError
from abpnet.figures import colours
from abpnet.web.pictures import enlarged

__all__ = ["COMPUTING", "gallery", "hint", "picture", "present", "refused", "shown", "thumbnails", "told"]

# One computation at a time: networks are shared by all who look at the page, and so are the processor's cores.
COMPUTING: dict[str, Any] = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
THUMBNAIL = 96


@contextmanager
def told() -> Iterator[None]:
    """What the user can mend is shown as a message."""
    import gradio as gr

    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), duration=8, print_exception=False, title="This cannot be done") from None


def picture(label: str, smooth: bool = False, **more: Any) -> Any:
    """A picture that is shown pixel by pixel, unless it is to be smooth, and can be downloaded."""
    import gradio as gr

    settings: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"], "format": "png"}
    settings |= {"alt_text": label}
    return gr.Image(label=label, elem_classes="plain" if smooth else "pixels", **settings | more)


def gallery(label: str, **more: Any) -> Any:
    """Pictures of which one can be clicked."""
    import gradio as gr

    settings: dict[str, Any] = {"interactive": False, "allow_preview": False, "object_fit": "contain", "buttons": []}
    return gr.Gallery(label=label, elem_classes=["pixels", "thumbnails"], format="png", **settings | more)


def hint(text: str) -> Any:
    """A sentence or two on what to do."""
    import gradio as gr

    return gr.Markdown(text, elem_classes="quiet")


def shown(image: np.ndarray) -> np.ndarray:
    """A (c, h, w) image as the page shows it."""
    return enlarged(colours(image))


def present(value: Any) -> Any:
    """What was hidden as long as it had no value."""
    import gradio as gr

    return gr.update(value=value, visible=True)


def thumbnails(images: Sequence[np.ndarray] | np.ndarray, first: int = 0) -> list[tuple[np.ndarray, str]]:
    """Images for a gallery, numbered from `first` on."""
    return [(enlarged(colours(image), THUMBNAIL), str(first + index)) for index, image in enumerate(images)]


def refused(error: InputError) -> str:
    """Why a page has nothing to show."""
    return f"**Not for this run.** {error}"
