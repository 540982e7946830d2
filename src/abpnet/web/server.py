"""`abpnet serve`: the explorer on this machine's own address, for nobody else."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.tasks.settings import check_device, check_number
from abpnet.web.gate import Gate
from abpnet.web.served import find_runs

__all__ = ["ADDRESS", "ServeSettings", "application", "listening", "serve"]

ADDRESS = "127.0.0.1"
# An uploaded file; and a request, which may hold several.
MOST_MEBIBYTES = 32
SECONDS_TO_STOP = 1
# Settings of Gradio that hold from its import on: it tells nobody anything, and renders in the browser.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SSR_MODE": "False"}


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Explore runs in a browser on this machine: latent space, repair, synthesis, training, comparison.

    For example:

      abpnet serve runs/digits
      abpnet serve runs/faces runs/wall runs/rain --port 8000
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, finished or going on, or of saved models."""
    port: int = 7860
    """Of the address, http://127.0.0.1:PORT; 0 = any that is free."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto = a GPU if there is one."""
    max_pixels: int = Limits.max_pixels
    """Refuse uploaded pictures of more pixels, before they are scaled."""

    def check(self) -> None:
        """Refuse settings that cannot be used.

        Raises:
            InputError: If one is out of its range, or no run is given.
        """
        if not self.runs:
            raise InputError("serve needs the folder of a run: abpnet serve RUN")
        check_number("--port", self.port, 0, 65535)
        check_number("--max-pixels", self.max_pixels, 1)
        check_device(self.device)


def listening(port: int) -> socket.socket:
    """A socket of this machine's own address.

    Raises:
        InputError: If the port is taken, or may not be used.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        other = port + 1 if port < 65535 else 0
        raise InputError(f"--port {port}: cannot be used ({error.strerror}); try --port {other}") from None
    return listener


def application(settings: ServeSettings, uploads: Path) -> Any:
    """The explorer as an ASGI application.

    Args:
        settings: All settings.
        uploads: A folder for uploaded files and what is shown.

    Raises:
        InputError: If one of the folders is no run.
    """
    served = find_runs(settings.runs, settings.device)
    os.environ |= QUIET | {"GRADIO_TEMP_DIR": str(uploads)}
    import gradio as gr
    from fastapi import FastAPI

    from abpnet.web.app import STYLE, explorer, theme

    page = explorer(served, Limits(max_pixels=settings.max_pixels))
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    largest = f"{MOST_MEBIBYTES}mb"
    looks: dict[str, Any] = {"theme": theme(), "css": STYLE, "footer_links": [], "run_history": False, "pwa": False}
    shut: dict[str, Any] = {"show_error": False, "allowed_paths": [], "enable_monitoring": False, "mcp_server": False}
    gr.mount_gradio_app(outer, page, "/", server_name=ADDRESS, max_file_size=largest, ssr_mode=False, **looks, **shut)
    page.has_launched = True  # only then Gradio checks which files are named
    return Gate(outer, uploads, (MOST_MEBIBYTES + 1) * 2**20)


def serve(settings: ServeSettings) -> None:
    """Serve until Ctrl-C.

    Raises:
        InputError: If Gradio is missing, the port is taken, or a folder is no run.
    """
    settings.check()
    if importlib.util.find_spec("gradio") is None:
        raise InputError("serve needs gradio, which is not installed: pip install 'abpnet[web]'")
    with listening(settings.port) as listener, tempfile.TemporaryDirectory(prefix="abpnet-serve-") as uploads:
        app = application(settings, Path(uploads))
        import uvicorn

        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=SECONDS_TO_STOP, ws="none")
        )
        print(f"http://{ADDRESS}:{listener.getsockname()[1]}  (Ctrl-C stops)", flush=True)
        with suppress(KeyboardInterrupt):  # how one leaves it
            server.run(sockets=[listener])
