"""`python -m abpnet` is the command `abpnet`."""

import sys


def main() -> None:
    """Run a command and exit; Ctrl-C is one line from the first moment on."""
    try:
        from abpnet.cli import main as run
    except KeyboardInterrupt:
        print("abpnet: stopped at once", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
