"""`python -m heteroreg` is the command."""

from heteroreg.cli.app import main

main()
