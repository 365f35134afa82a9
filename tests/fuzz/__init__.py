"""Damaged and hostile files, opened as a user would: each is read soundly or refused in one line.

The whole run, 12,000 inputs, takes some 75 s of one core and prints a table of outcomes:

    OMP_NUM_THREADS=1 python -m tests.fuzz

Inputs depend on nothing but the seed, their format and their number, so that one can be looked at alone:

    python -m tests.fuzz --show nrrd:1234 --keep /tmp/input

`seeds` makes small valid files of every format, `mutate` and `headers` spoil them, `readers` opens them with the
public functions, and `harness` does that in processes of its own, so that a crash, a hang or a greedy reader is
caught and named.
"""
