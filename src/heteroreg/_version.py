"""The version, in a module of its own: what needs it does not import the whole package."""

__version__ = "0.1.0"
