"""The command line, called inside this process."""

import safetensors.torch

from abpnet import cli

# Settings of `complete` that take a second.
COMPLETE = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--max-iter", "3", "--precision", "float32"]
COMPLETE += ["--draws", "19"]


def run(*arguments):
    """Exit code of the command."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def final_tensors(folder):
    """Tensors of the model that a finished run leaves."""
    return safetensors.torch.load((folder / "model" / "state.safetensors").read_bytes())
