"""The demonstration: digits of which half was hidden, and a texture, on data that come with the libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abpnet import report
from abpnet.runs import RunFolder
from abpnet.tasks import complete, texture
from abpnet.tasks.recovery import OURS
from abpnet.tasks.session import reproduction, run_part
from abpnet.tasks.settings import RunSettings, check_number

__all__ = ["DemoSettings", "run"]

DIGIT_PASSES, NEW_DIGITS = 600, 300
TEXTURE_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class DemoSettings(RunSettings):
    """Learn from half-hidden digits and from one texture; a few minutes on two cores, nothing to download.

    For example:

      abpnet demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """Folder of the run; it must be new or empty."""
    digit_passes: int = DIGIT_PASSES
    """Passes over the digits."""
    texture_seconds: float = TEXTURE_SECONDS
    """Seconds of learning the texture."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--digit-passes", self.digit_passes, 1)
        check_number("--texture-seconds", self.texture_seconds, 1e-3)


def run(settings: DemoSettings, folder: RunFolder) -> dict[str, Any]:
    """Run both experiments and write one report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder; each experiment has its own in it.

    Raises:
        Interrupted: If the user or the system asked to stop.
    """
    digits = complete.CompleteSettings(
        source="builtin:digits",
        out=settings.out / "digits",
        mask="pepper:0.5:1",
        latent_dim=20,
        max_iter=settings.digit_passes,
        new_images=NEW_DIGITS,
        seed=settings.seed,
        device=settings.device,
    )
    material = texture.TextureSettings(
        source="builtin:gravel",
        out=settings.out / "texture",
        max_seconds=settings.texture_seconds,
        seed=settings.seed,
        device=settings.device,
    )
    digits_folder, digits_result = run_part("complete", digits, complete.run)
    texture_folder, texture_result = run_part("texture", material, texture.run)
    sections = {
        "Digits of which half the pixels were hidden": [
            report.paragraph(
                f"{digits_result['n_training']} handwritten digits of scikit-learn, half of the pixels of every one "
                "hidden: what was learned comes from incomplete images alone. "
                f"{digits_result['n_new']} more, as incomplete, were completed afterwards."
            ),
            report.picture(digits_folder.path / "training images.png", "Training images; coloured = hidden.", True),
            report.picture(digits_folder.path / "new images.png", "New images; coloured = hidden.", True),
            report.picture(digits_folder.path / "samples.png", "Samples: f(z) of new z drawn from N(0, I).", True),
            report.table(digits_result["table"], ours=OURS),
            report.paragraph(
                "Error on hidden pixels: mean absolute difference as a fraction of the dynamic range; PSNR in dB."
            ),
            report.picture(digits_folder.path / "curves.png", "Learning, one point per iteration."),
        ],
        "A texture, synthesised at four times its area": [
            report.picture(texture_folder.path / "original.png", "Original: a photograph of scikit-image."),
            report.picture(texture_folder.path / "synthesis.png", "Synthesis from new z drawn from N(0, I)."),
            report.table(texture_result["table"], ours=texture_result["table"][0]["method"]),
            report.picture(texture_folder.path / "curves.png", "Learning, one point per iteration."),
        ],
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", "abpnet: learning from incomplete and indirect data", sections)
    return {"digits": digits_result, "texture": texture_result, "table": digits_result["table"]}
