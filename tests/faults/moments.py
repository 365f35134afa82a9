"""The moments at which a training can be hit, and the faults that hit it there."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch

from heteroreg.data.samples.samples import Samples
from heteroreg.losses import total
from heteroreg.training import loop

# Moments in which something is written, so that a full disk shows.
WRITES = ("mkdir", "write", "half", "fsync", "replace")
HOUR = 3600.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        kind: One of `FAULTS`.
        at: The moment, counted among those that the kind can hit; for `nan` the step; for `limit` and `memory`
            bytes.
        detail: What exactly, where a kind has several.
        seed: Of what is random besides.
    """

    kind: str
    at: int = 0
    detail: str = ""
    seed: int = 0


@dataclass
class Seen:
    """What an attempt went through.

    Attributes:
        moments: All moments passed, in order.
        fired: Where the fault hit: the number of moments before it.
        batches: For each step the ids of the pairs that were fetched for it.
        step: The step that is being made; 0 outside of one.
        updates: Steps done in this attempt.
        updates_when_fired: Those done when the fault hit.
    """

    moments: list[str] = field(default_factory=list)
    fired: int | None = None
    batches: dict[int, set[str]] = field(default_factory=dict)
    step: int = 0
    updates: int = 0
    updates_when_fired: int = 0

    def fire(self) -> None:
        """Notes that the fault hits now."""
        if self.fired is None:
            self.fired, self.updates_when_fired = len(self.moments), self.updates


@contextmanager
def fetching(hook: Callable[[tuple[str, ...], Callable[[], torch.Tensor]], torch.Tensor]) -> Iterator[None]:
    """Lets a hook see, change or fail what is fetched: it is given the ids of the pairs, and fetches the images."""

    def images(self, indices, inner=Samples.images):
        owners = self.pair[torch.as_tensor(indices)].tolist()
        return hook(tuple(self.ids[owner] for owner in owners), lambda: inner(self, indices))

    with patch.object(Samples, "images", images):
        yield


@contextmanager
def watched(seen: Seen, moment: Callable[[str], None], fetched=None) -> Iterator[None]:
    """Calls `moment` with a name at every moment, and notes it.

    Args:
        seen: Where to note it.
        moment: May raise, or never come back.
        fetched: From the images of a batch to those that the training is given.
    """

    def now(name: str) -> None:
        moment(name)
        seen.moments.append(name)

    def around(function, before: str, after: str):
        def call(*args, **kwargs):
            now(before)
            result = function(*args, **kwargs)
            now(after)
            return result

        return call

    def in_halves(function):
        def write(target, data, *args, **kwargs):
            now("write")
            function(target, data[: len(data) // 2], *args, **kwargs)
            now("half")
            return function(target, data, *args, **kwargs)

        return write

    def append(handle, data, write=os.write):
        now("write")
        done = write(handle, data[: len(data) // 2])
        now("half")
        return done + write(handle, data[done:])

    def fetch(ids, images):
        now("fetch")
        if seen.step:
            seen.batches.setdefault(seen.step, set()).update(ids)
        return fetched(images()) if fetched else images()

    def update(fabric, state, *args, inner=loop.update):
        seen.step = state.step + 1
        now("update")
        figures = inner(fabric, state, *args)
        seen.step, seen.updates = 0, seen.updates + 1
        now("updated")
        return figures

    with ExitStack() as stack:
        for owner, name, replacement in (
            (os, "fsync", around(os.fsync, "fsync", "fsynced")),
            (os, "replace", around(os.replace, "replace", "replaced")),
            (os, "write", append),
            (Path, "write_bytes", in_halves(Path.write_bytes)),
            (Path, "write_text", in_halves(Path.write_text)),
            (Path, "mkdir", around(Path.mkdir, "mkdir", "made")),
            (Path, "unlink", around(Path.unlink, "unlink", "unlinked")),
            (loop, "validate", around(loop.validate, "validate", "validated")),
            (loop, "update", update),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        stack.enter_context(fetching(fetch))
        yield


@contextmanager
def injected(fault: Fault | None) -> Iterator[Seen]:
    """Lets a fault hit what runs in the block."""
    seen = Seen()
    if fault is None:
        with watched(seen, lambda _name: None):
            yield seen
    else:
        with FAULTS[fault.kind](fault, seen):
            yield seen


@contextmanager
def _signal(fault: Fault, seen: Seen) -> Iterator[None]:
    """SIGKILL, SIGTERM or SIGINT at a moment."""
    number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}[fault.kind]

    def moment(_name: str) -> None:
        if len(seen.moments) == fault.at and seen.fired is None:
            seen.fire()
            signal.raise_signal(number)

    with watched(seen, moment):
        yield


@contextmanager
def _full(fault: Fault, seen: Seen) -> Iterator[None]:
    """A disk that is full from one write on."""

    def moment(name: str) -> None:
        if name in WRITES and sum(past in WRITES for past in seen.moments) >= fault.at:
            seen.fire()
            where = ["folder"] if name == "mkdir" else []  # a write does not know the name of its file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *where)

    with watched(seen, moment):
        yield


@contextmanager
def _limit(fault: Fault, seen: Seen) -> Iterator[None]:
    """The kernel lets no file grow beyond so many bytes: a write ends in its middle, then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with watched(seen, lambda _name: None):
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, before[1]))
        try:
            yield
        except SystemExit as stop:
            if stop.code:
                seen.fire()
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _memory(fault: Fault, seen: Seen) -> Iterator[None]:
    """The kernel gives the process no more than so many bytes of memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with watched(seen, lambda _name: None):
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + fault.at, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _read(fault: Fault, seen: Seen) -> Iterator[None]:
    """Samples that cannot be read any more."""

    def moment(name: str) -> None:
        if name == "fetch" and seen.moments.count("fetch") == fault.at:
            seen.fire()
            raise OSError(errno.EIO, os.strerror(errno.EIO), "samples")

    with watched(seen, moment):
        yield


@contextmanager
def _bus(fault: Fault, seen: Seen) -> Iterator[None]:
    """The files of the cache lose their content while they are mapped: the kernel answers with SIGBUS."""

    def moment(name: str) -> None:
        if name == "fetch" and seen.moments.count("fetch") == fault.at:
            for path in Path(os.environ["HETEROREG_CACHE"]).rglob("*.safetensors"):
                os.truncate(path, 0)

    with watched(seen, moment):
        yield


@contextmanager
def _nan(fault: Fault, seen: Seen) -> Iterator[None]:
    """A NaN in an image, the loss, the gradient, a parameter or the validation, in one step."""

    def here(detail: str) -> bool:
        hit = fault.detail == detail and seen.step == fault.at
        if hit:
            seen.fire()
        return hit

    def fetched(images):
        if here("image"):
            images[0, 0, 5, 7] = math.nan
        return images

    def smoothness(velocity, weight, inner=total.smoothness):
        value = inner(velocity, weight)
        if here("gradient") and velocity.requires_grad:
            return value + (velocity - velocity.detach()).abs().mean().sqrt()  # 0, with a gradient of 0·∞
        return value * math.nan if here("loss") or here("gradient") else value

    def validate(*args, inner=loop.validate):
        scores = inner(*args)
        if fault.detail == "validation" and fault.at <= updates[0]:
            seen.fire()
            return dataclasses.replace(scores, loss=math.nan)
        return scores

    def update(fabric, state, *args):
        figures = watched_update[0](fabric, state, *args)
        updates[0] = state.step + 1
        if fault.detail == "parameter" and updates[0] == fault.at:
            seen.fire()
            with torch.no_grad():
                next(state.network.parameters())[0, 0] = math.nan
        return figures

    updates, watched_update = [0], []
    with ExitStack() as stack:
        stack.enter_context(patch.object(total, "smoothness", smoothness))
        stack.enter_context(patch.object(loop, "validate", validate))
        stack.enter_context(watched(seen, lambda _name: None, fetched))
        watched_update.append(loop.update)
        stack.enter_context(patch.object(loop, "update", update))
        yield


@contextmanager
def _clock(fault: Fault, seen: Seen) -> Iterator[None]:
    """A clock that jumps by hours, forward and backward."""
    generator, real, offset = random.Random(fault.seed), time.time, [0.0]

    def moment(_name: str) -> None:
        if generator.random() < 0.1:
            seen.fire()
            offset[0] = generator.uniform(-48, 48) * HOUR

    with patch.object(time, "time", lambda: real() + offset[0]), watched(seen, moment):
        yield


FAULTS: dict[str, Callable] = {
    "kill": _signal,
    "term": _signal,
    "int": _signal,
    "full": _full,
    "limit": _limit,
    "memory": _memory,
    "read": _read,
    "bus": _bus,
    "nan": _nan,
    "clock": _clock,
}
