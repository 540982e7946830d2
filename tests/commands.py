"""The command line, called inside this process."""

from abpnet import cli

# Settings of `complete` that take a second.
COMPLETE = ["--mask", "pepper:0.4:1", "--latent-dim", "3", "--max-iter", "3", "--precision", "float32"]


def run(*arguments):
    """Exit code of the command."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0
