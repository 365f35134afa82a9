"""Models shared on Hugging Face or in a folder."""

from heteroreg.hub.pull import pull
from heteroreg.hub.push import push

__all__ = ["pull", "push"]
