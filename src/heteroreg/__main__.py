"""`python -m heteroreg` is the command."""

from heteroreg.cli import main

main()
