"""A beating heart with known motion, noise of known standard deviation, and artefacts with known masks."""

from heteroreg.data.phantom.cohort import write_phantom
from heteroreg.data.phantom.overlay import write_overlay
from heteroreg.data.phantom.pair import PhantomPair, make_pair

__all__ = ["PhantomPair", "make_pair", "write_overlay", "write_phantom"]
