"""`python -m abpnet` is the command `abpnet`."""

from abpnet.cli import main

main()
