"""What a training or a study is doing, from its files alone: from another terminal, or another machine."""

from heteroreg.watch.follow import follow

__all__ = ["follow"]
