"""`python -m grokpack` is the command line."""

from grokpack.cli.app import main

main()
