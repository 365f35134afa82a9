"""Models handed on: to a repository of Hugging Face or a folder, and from there."""

from heteroreg.hub.pull import pull
from heteroreg.hub.push import push

__all__ = ["pull", "push"]
