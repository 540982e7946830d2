"""Experiment 4: learn a dynamic texture from one clip, synthesise as much of it as wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from abpnet.baselines.linear_dynamics import LinearDynamicSystem, fit_linear_dynamics, n_components_of
from abpnet.chance import seed_for
from abpnet.data.videos import Clip, load_clip
from abpnet.dynamic_textures import DynamicTexture, infer_paths, learn_motion, pieces
from abpnet.errors import InputError
from abpnet.estimator_settings import SMALLEST_NOISE
from abpnet.memory import HIDDEN_DIM
from abpnet.motion import join, process_of
from abpnet.networks import FRAMES_PER_POSITION, FrameNetwork, SpaceTimeNetwork
from abpnet.priors import Motion, Recurrence
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks.reading import FolderSettings, note_files
from abpnet.tasks.session import learn, load_model, new_network, run_part
from abpnet.tasks.settings import LearningSettings, check_number
from abpnet.tasks.synthesis import Synthesiser, write_synthesis

__all__ = ["PATHS", "VideoSettings", "run"]

OURS = "abpnet"
# Where the run keeps the factors of the frames, from which their motion is learned again.
PATHS = "paths.npz"
# Of motion learned together with frames. Residuals of neighbouring pixels err together, so that each tells less than it
# would by its own size, which leaves the motion nothing to say.
JOINT_NOISE_STD = 0.1
FEWEST_FRAMES = 16
SMALLEST_SIDE = {"frames": 8, "spacetime": 16}


@dataclass(frozen=True, kw_only=True)
class VideoSettings(FolderSettings, LearningSettings):
    """Learn a dynamic texture (water, smoke, leaves ...) from one clip and synthesise more of it.

    For example:

      abpnet video waterfall.mp4 --frames 240 --out runs/waterfall
      abpnet video builtin:waves --latent-dim 10 --max-seconds 30 --out runs/waves
      abpnet video fire.gif --transition recurrent --frames 1000 --out runs/fire
      abpnet video sea.mp4 --motion joint --out runs/sea
      abpnet video sea.mp4 --motion joint --transition recurrent --out runs/sea-recurrent
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLIP")]
    """Video that PyAV reads (MP4, GIF, AVI ...), folder of frames, .npz or .npy file, or builtin:waves."""
    out: Path = Path("runs/video")
    """Folder of the run; it must be new or empty."""
    frames: int = 240
    """Frames to synthesise."""
    size: int | None = 64
    """Scale the central square of each frame to this many pixels a side."""
    limit: int = 240
    """Learn from at most this many frames, the first ones."""
    frame_rate: float | None = None
    """Frames per second; what the file says by default."""
    latent_dim: int = 20
    """Number of latent factors of a frame (spacetime: of four frames)."""
    transition: Literal["linear", "recurrent"] = "linear"
    """How factors move on: a vector auto-regression, or one with a recurrent network on top."""
    order: int = 1
    """Earlier states that the auto-regression looks at; the linear dynamic system beside it has the same order."""
    motion: Literal["two-step", "joint"] = "two-step"
    """Fit the motion to the factors of learned frames, or go on from there and learn both together, in half the time
    each."""
    network: Literal["frames", "spacetime"] = "frames"
    """What is learned: single frames, or deconvolutions in space and time of whole pieces of the clip."""
    width: int = 128
    """Channels of the widest layer."""
    max_iter: int = 2000
    """Passes over the frames at most."""
    max_seconds: float | None = 240.0
    """Seconds of learning at most."""
    noise_std: float = 0.03
    """Standard deviation of what the factors leave unexplained, where it starts; it is learned."""
    baselines: bool = True
    """Also synthesise by linear dynamic systems."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--frames", self.frames, 2, 1_000_000)
        check_number("--size", self.size, 8, 4096)
        check_number("--limit", self.limit, FEWEST_FRAMES)
        check_number("--frame-rate", self.frame_rate, 0.01, 1000)
        check_number("--latent-dim", self.latent_dim, 1, 100_000)
        check_number("--order", self.order, 1, 100)
        check_number("--width", self.width, 1, 10_000)
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, 1 / SMALLEST_NOISE)
        if self.motion == "joint":
            check_number("--max-iter", self.max_iter, 2)
            needed = {"network": "frames", "order": 1}
            for name, value in needed.items():
                if getattr(self, name) != value:
                    raise InputError(
                        f"--motion joint learns frames under a motion of order 1; it needs --{name} {value}, got "
                        f"{getattr(self, name)}"
                    )


def _read(settings: VideoSettings) -> Clip:
    """The clip.

    Raises:
        InputError: If it cannot be used.
    """
    clip = load_clip(
        settings.source,
        size=settings.size,
        limit=settings.limit,
        frame_rate=settings.frame_rate,
        limits=settings.limits,
        on_bad_file=settings.on_bad_file,
        follow_links=settings.follow_links,
    )
    n, side = len(clip.frames), min(clip.frames.shape[2:])
    if n < FEWEST_FRAMES:
        raise InputError(f"{settings.source}: {n} frames; a dynamic texture is learned from {FEWEST_FRAMES} or more")
    if (clip.frames == clip.frames[0]).all():
        raise InputError(f"{settings.source}: all frames are equal; nothing moves")
    if side < SMALLEST_SIDE[settings.network]:
        raise InputError(
            f"{settings.source}: frames of {side} pixels; --network {settings.network} needs sides of "
            f"{SMALLEST_SIDE[settings.network]}"
        )
    examples = pieces(clip.frames) if settings.network == "spacetime" else clip.frames[None, None]
    per_path = examples.shape[2] // (FRAMES_PER_POSITION if settings.network == "spacetime" else 1)
    known, needed = len(examples) * (per_path - settings.order), (settings.order + 1) * settings.latent_dim + 2
    if known < needed:
        raise InputError(
            f"{settings.source}: {n} frames give {max(known, 0)} transitions, and {settings.latent_dim} factors at "
            f"order {settings.order} need {needed}; lower --latent-dim or --order, or take a longer clip"
        )
    return clip


def _learned_together(settings: VideoSettings, clip: Clip, folder: RunFolder) -> DynamicTexture:
    """Learn the frames in a part of the run, then go on with them and their motion together."""
    n_first = settings.max_iter // 2
    seconds = None if settings.max_seconds is None else settings.max_seconds / 2
    first = replace(settings, motion="two-step", max_iter=n_first, max_seconds=seconds, baselines=False)
    part, _ = run_part("video", replace(first, out=settings.out / "frames", overwrite=False), run)
    alone = load_model(part.path, settings.device)
    assert isinstance(alone.model_.network, FrameNetwork)
    with show_stage("learning how the factors move"):
        together = join(alone.model_.network, infer_paths(alone, clip.frames)[0])
    prior: Motion = together.prior
    if settings.transition == "recurrent":
        prior = Recurrence(together.prior, HIDDEN_DIM, torch.Generator().manual_seed(seed_for("memory", settings.seed)))
    examples, start = pieces(clip.frames), pieces(together.path.numpy())
    network = new_network(
        replace(settings, max_iter=settings.max_iter - n_first, max_seconds=seconds),
        latent_dim=start.shape[1:],
        network=together.network,
        prior=prior,
        noise_std=JOINT_NOISE_STD,
        recipe="motion",
    )
    learned = learn(network, examples, folder, title="learning frames and motion together", start=start)
    with show_stage("inferring the factors"):
        paths = infer_paths(learned, clip.frames)
        return DynamicTexture(learned, paths, process_of(learned.model_, paths))


def _texture(settings: VideoSettings, clip: Clip, folder: RunFolder) -> DynamicTexture:
    """Learn network and motion."""
    if settings.motion == "joint":
        return _learned_together(settings, clip, folder)
    shape = clip.frames.shape[1:]
    spacetime = settings.network == "spacetime"
    examples = pieces(clip.frames) if spacetime else clip.frames
    with torch.device("meta"):
        network = (SpaceTimeNetwork if spacetime else FrameNetwork)(settings.latent_dim, shape, settings.width)
    latent_dim = (settings.latent_dim, examples.shape[2] // FRAMES_PER_POSITION) if spacetime else settings.latent_dim
    learned = new_network(
        settings,
        latent_dim=latent_dim,
        network=network,
        noise_std=settings.noise_std,
        recipe="spacetime" if spacetime else "video",
    )
    learned = learn(learned, examples, folder, title="learning")
    with show_stage("learning how the factors move"):
        paths = infer_paths(learned, clip.frames)
        generator = torch.Generator().manual_seed(settings.seed)
        return DynamicTexture(learned, paths, learn_motion(paths, settings.transition, settings.order, generator))


def _linear_systems(settings: VideoSettings, clip: Clip, n_parameters: int) -> dict[str, LinearDynamicSystem]:
    """One with as many factors that moves as ours does, one that does by least squares, one of as many parameters."""
    n, n_pixels = len(clip.frames), clip.frames[0].size
    same_dim = min(settings.latent_dim, n_components_of(10**15, n, n_pixels, settings.order))
    same_size = n_components_of(n_parameters, n, n_pixels, settings.order)
    name = "linear dynamic system, d = {}".format
    return {
        name(same_dim): fit_linear_dynamics(clip.frames, same_dim, settings.order),
        f"{name(same_dim)}, least squares": fit_linear_dynamics(clip.frames, same_dim, settings.order, True),
        f"{name(same_size)}, as many parameters": fit_linear_dynamics(clip.frames, same_size, settings.order),
    }


def run(settings: VideoSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, synthesise, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the clip cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    clip = _read(settings)
    if clip.names:
        note_files(folder, settings.source, clip.names, clip.skipped)
    texture = _texture(settings, clip, folder)
    np.savez_compressed(folder.path / PATHS, *texture.paths)
    methods = [Synthesiser(OURS, texture.synthesise, texture.reconstruct(len(clip.frames)), texture.n_parameters)]
    systems = _linear_systems(settings, clip, texture.n_parameters) if settings.baselines else {}
    for name, system in systems.items():
        methods.append(Synthesiser(name, system.synthesise, system.frames(system.factors), system.n_parameters))
    with show_stage("synthesising and comparing"):
        return write_synthesis(settings, folder, clip, methods, settings.frames)
