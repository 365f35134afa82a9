"""Prepared samples in files: rebuilt when they should be, whole whatever happens, and bounded."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import heteroreg.data.samples.cache as module
import heteroreg.data.samples.dataset as dataset
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, write_image
from heteroreg.data.samples.cache import DEFAULT_LIMIT, SampleCache
from heteroreg.data.samples.dataset import load_samples
from heteroreg.data.samples.preparation import Preparation
from heteroreg.data.samples.samples import Samples
from heteroreg.system.errors import UserError
from heteroreg.training import train

SIZE, SLICES = (16, 24), Preparation(2)
KEYS = [digit * 64 for digit in "0123456789"]


def write_pair(folder: Path, number: int, slices: int, rng: np.random.Generator) -> Pair:
    """A stack of noise with a square as its label."""
    files = {}
    for name in ("moving", "fixed"):
        files[name] = folder / f"{number}_{name}.nii"
        image = Image.from_array(rng.uniform(0, 500, (20, 18, slices)).astype(np.float32), (1.5, 1.5, 8.0))
        write_image(image, files[name])
        labels = np.zeros(image.array.shape, dtype=np.int32)
        labels[3:6, 9:12] = 2
        files[f"{name}_labels"] = folder / f"{number}_{name}_labels.nii"
        write_image(image.with_array(labels), files[f"{name}_labels"])
    return Pair(f"pair{number}", **files)


@pytest.fixture
def pairs(tmp_path, rng):
    """Three pairs of 3, 4 and 5 slices."""
    return [write_pair(tmp_path, number, 3 + number, rng) for number in range(3)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def load(pairs, folder, preparation=SLICES, size=SIZE, limit=DEFAULT_LIMIT, labels=True, **options):
    cache = SampleCache(folder, limit)
    return load_samples(pairs, preparation, size, labels=labels, cache=cache, **options)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def assert_same(one: Samples, two: Samples) -> None:
    everything = range(len(one))
    assert torch.equal(one.pair, two.pair)
    assert torch.equal(one.images(everything), two.images(everything))
    assert one.labelled == two.labelled
    if one.labelled:
        assert torch.equal(one.labels(everything), two.labels(everything))
    assert (one.ids, one.patients, one.size) == (two.ids, two.patients, two.size)


def block(value: int, kilobytes: int = 100) -> dict[str, np.ndarray]:
    return {"moving": np.full((kilobytes, 256), value, dtype=np.float32)}


# What comes back


def test_a_second_start_decodes_nothing_and_gives_the_same(pairs, folder, decoded):
    plain = load(pairs, None)
    assert decoded.total() == 12
    decoded.clear()
    first = load(pairs, folder)
    assert decoded.total() == 12
    assert len(entries(folder)) == 3
    decoded.clear()
    second = load(pairs, folder)
    assert not decoded
    for samples in (first, second):
        assert_same(plain, samples)
        assert samples.images([0]).is_contiguous()


@pytest.mark.parametrize("centre_label", [None, 2])
@pytest.mark.parametrize("labels", [True, False])
def test_equal_whatever_is_asked_for(centre_label, labels, pairs, folder, decoded):
    plain = load(pairs, None, Preparation(2, (2.0, 2.0), "minmax"), labels=labels, centre_label=centre_label)
    for _ in range(2):
        decoded.clear()
        found = load(pairs, folder, Preparation(2, (2.0, 2.0), "minmax"), labels=labels, centre_label=centre_label)
        assert_same(plain, found)
    assert not decoded


def test_training_is_the_same_bit_for_bit(cohort_2d: Cohort, tmp_path, monkeypatch):
    found = []
    for name, cache in (("off", "off"), ("first", str(tmp_path / "cache")), ("second", str(tmp_path / "cache"))):
        monkeypatch.setenv("HETEROREG_CACHE", cache)
        run = train(cohort_2d, tmp_path / name, steps=4, batch_size=2, validate_every=2, log_every=1)
        (tensors,) = run.checkpoint("last").glob("*.safetensors")
        found.append((load_file(tensors), run.metrics.drop(columns="seconds")))
    assert len(entries(tmp_path / "cache" / "samples")) == 6  # five pairs to learn from, one to validate
    for tensors, metrics in found[1:]:
        assert metrics.equals(found[0][1])
        assert tensors.keys() == found[0][0].keys()
        assert all(torch.equal(value, found[0][0][name]) for name, value in tensors.items())


def test_volumes(pairs, folder, decoded):
    plain = load(pairs[:1], None, Preparation(3), (16, 16, 4))
    load(pairs[:1], folder, Preparation(3), (16, 16, 4))
    decoded.clear()
    assert_same(plain, load(pairs[:1], folder, Preparation(3), (16, 16, 4)))
    assert not decoded


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells of its mappings on Linux alone")
def test_entries_are_mapped_and_hold_no_open_file(pairs, folder):
    def mapped() -> set[str]:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return {line.split()[-1] for line in lines if line.endswith(".safetensors")}

    before = len(list(Path("/proc/self/fd").iterdir()))
    samples = load(pairs, folder)
    assert {str(path) for path in entries(folder)} <= mapped()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    # What is done to a sample stays in this process.
    samples.arrays[0]["moving"].fill_(7.0)
    assert_same(load(pairs, None), load(pairs, folder))


def test_entries_that_are_removed_while_they_are_in_use(pairs, folder):
    samples = load(pairs, folder)
    shutil.rmtree(folder)
    assert_same(load(pairs, None), samples)


# When it is made anew


def test_a_change_that_leaves_size_and_time_alone(pairs, folder, decoded):
    load(pairs, folder)
    path = pairs[1].fixed
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1 << 5  # the exponent of the last voxel
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    decoded.clear()
    found = load(pairs, folder)
    assert set(decoded) == {"1_fixed.nii", "1_moving.nii", "1_fixed_labels.nii", "1_moving_labels.nii"}
    assert_same(load(pairs, None), found)
    assert len(entries(folder)) == 4


def test_a_change_of_the_labels(pairs, folder, decoded):
    load(pairs, folder, centre_label=2, labels=False)
    labels = np.zeros((20, 18, 3), dtype=np.int32)
    labels[10:13, 9:12] = 2
    write_image(Image.from_array(labels, (1.5, 1.5, 8.0)), pairs[0].moving_labels)
    decoded.clear()
    found = load(pairs, folder, centre_label=2, labels=False)
    assert len(decoded) == 4
    assert_same(load(pairs, None, centre_label=2, labels=False), found)


@pytest.mark.parametrize(
    "other",
    [
        {"size": (16, 16)},
        {"preparation": Preparation(2, (1.5, 1.5))},
        {"preparation": Preparation(2, intensity="minmax")},
        {"preparation": Preparation(3), "size": (16, 24, 4)},
        {"labels": False},
        {"centre_label": 2},
    ],
)
def test_other_settings_have_entries_of_their_own(other, pairs, folder, decoded):
    load(pairs, folder)
    decoded.clear()
    assert_same(load(pairs, None, **other), load(pairs, folder, **other))
    assert len(entries(folder)) == 6
    decoded.clear()
    load(pairs, folder)
    load(pairs, folder, **other)
    assert not decoded


def test_another_version_of_the_preparation_or_of_a_library(pairs, folder, decoded, monkeypatch):
    load(pairs, folder)
    for name, value in (("dataset.PREPARATION_VERSION", 99), ("dataset.nibabel.__version__", "99")):
        monkeypatch.setattr(f"heteroreg.data.samples.{name}", value)
        decoded.clear()
        load(pairs, folder)
        assert decoded.total() == 12


def test_a_cohort_that_was_moved_is_known(pairs, folder, decoded, tmp_path):
    load(pairs, folder)
    (tmp_path / "moved").mkdir()
    files = ("moving", "fixed", "moving_labels", "fixed_labels")
    moved = [
        replace(
            pair,
            **{name: getattr(pair, name).rename(tmp_path / "moved" / f"{pair.id}{name}.nii") for name in files},
        )
        for pair in pairs
    ]
    decoded.clear()
    load(moved, folder)
    assert not decoded


def test_a_file_that_changes_while_it_is_read_is_not_kept(pairs, folder, monkeypatch):
    prepare = dataset._prepare

    def changed(pair, recipe, images):
        made = prepare(pair, recipe, images)
        if pair.id == "pair1":
            pair.moving.write_bytes(pair.moving.read_bytes())
        return made

    monkeypatch.setattr(dataset, "_prepare", changed)
    assert_same(load(pairs, None), load(pairs, folder))
    assert len(entries(folder)) == 2


def test_an_image_whose_files_are_not_known_is_refused(pairs, folder, tmp_path):
    odd = tmp_path / "odd.mhd"
    odd.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 20 18 3\nElementSpacing = 1.5 1.5 8\n"
        "ElementType = MET_FLOAT\nElementDataFile = LIST\nodd0.raw\nodd1.raw\nodd2.raw\n"
    )
    with pytest.raises(UserError, match=r"odd\.mhd: its voxels are in a list of files"):
        load([replace(pairs[0], moving=odd, moving_labels=None)], folder)
    assert not list(folder.rglob("*.safetensors"))


# Damage


def flip(content: bytearray, at: int) -> bytearray:
    content[at] ^= 4
    return content


DAMAGE = {
    "empty": lambda content: b"",
    "a stump": lambda content: content[:5],
    "the header alone": lambda content: content[: 8 + int.from_bytes(content[:8], "little")],
    "cut short": lambda content: content[:-1],
    "too long": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "a bit of the length": lambda content: flip(content, 1),
    "a bit of the header": lambda content: flip(content, 40),
    "a bit of a label": lambda content: flip(content, len(content) - 1),
    "a bit in the middle": lambda content: flip(content, len(content) // 2),
    "text": lambda content: b"hello " * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_made_anew(damage, pairs, folder, decoded):
    plain = load(pairs, folder)
    victim = entries(folder)[1]
    whole = victim.read_bytes()
    victim.unlink()  # `plain` has it mapped
    victim.write_bytes(damage(bytearray(whole)))
    decoded.clear()
    assert_same(plain, load(pairs, folder))
    assert decoded.total() == 4  # one pair
    assert victim.read_bytes() == whole


def test_every_bit_of_the_header_counts(folder):
    cache = SampleCache(folder)
    arrays = {"moving": np.zeros((2, 4, 4), np.float32), "moving_labels": np.zeros((2, 4, 4), np.int32)}
    cache.put(KEYS[0], arrays)
    (path,) = entries(folder)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    stripped = len(content[:header].rstrip(b" "))  # padding says nothing
    for at in range(stripped):
        for bit in range(8):
            other = bytearray(content)
            other[at] ^= 1 << bit
            path.unlink()
            path.write_bytes(other)
            found = cache.get(KEYS[0])
            # Nothing that was changed comes back: at most the same arrays in spite of it.
            if found is not None:
                assert found.keys() == arrays.keys()
                assert all(np.array_equal(found[name].numpy(), array) for name, array in arrays.items())
                assert all(found[name].numpy().dtype == array.dtype for name, array in arrays.items())


def test_an_entry_under_the_name_of_another(pairs, folder, decoded):
    plain = load(pairs, folder)
    one, two, _ = entries(folder)
    shutil.copy(one, folder / "other")
    os.replace(folder / "other", two)
    assert_same(plain, load(pairs, folder))


def test_an_entry_of_another_shape(pairs, folder, decoded):
    plain = load(pairs, folder, labels=False)
    path = entries(folder)[0]
    entry = {"moving": torch.zeros(3, 2, 2), "fixed": torch.zeros(3, 2, 2)}
    path.unlink()
    save_file(entry, path, metadata={module.SEAL: f"{path.stem} {module._checksum(entry)}"})
    assert SampleCache(folder).get(path.stem) is not None  # whole, but not what is needed
    decoded.clear()
    assert_same(plain, load(pairs, folder, labels=False))
    assert decoded.total() == 2


# Bounds


def age(folder: Path, *keys: str) -> None:
    """Makes these entries the oldest, the first most of all."""
    for number, key in enumerate(keys):
        os.utime(folder / f"{key}.safetensors", (number, number))


def test_the_entries_used_longest_ago_go_first(folder):
    for key in KEYS[:3]:
        SampleCache(folder, 350_000).put(key, block(1))  # 100 kB each
    age(folder, KEYS[1], KEYS[0], KEYS[2])
    assert SampleCache(folder, 350_000).get(KEYS[1]) is not None  # now the youngest
    SampleCache(folder, 350_000).put(KEYS[3], block(2))
    assert [path.stem for path in entries(folder)] == [KEYS[1], KEYS[2], KEYS[3]]
    assert sum(path.stat().st_size for path in entries(folder)) <= 350_000


def test_entries_in_use_stay_and_the_rest_is_kept_in_memory(folder):
    SampleCache(folder, 350_000).put(KEYS[9], block(9))
    cache = SampleCache(folder, 350_000)
    for number in range(3):
        cache.put(KEYS[number], block(number))
    assert [path.stem for path in entries(folder)] == KEYS[:3]
    with pytest.warns(UserWarning, match=r"more than the limit of 0\.00035 GB.*HETEROREG_CACHE_LIMIT") as warned:
        found = [cache.put(KEYS[number], block(number)) for number in (3, 4)]
    assert len(warned) == 1
    assert [int(entry["moving"][0, 0]) for entry in found] == [3, 4]
    assert [path.stem for path in entries(folder)] == KEYS[:3]
    assert cache.get(KEYS[0]) is not None  # what is there is still read


def test_nothing_is_removed_for_what_will_never_fit(folder):
    SampleCache(folder, 350_000).put(KEYS[0], block(0))
    with pytest.warns(UserWarning, match="more than the limit"):
        SampleCache(folder, 350_000).put(KEYS[1], block(1, kilobytes=400))
    assert [path.stem for path in entries(folder)] == KEYS[:1]


def test_a_new_pair_does_not_push_out_those_that_come_after_it(pairs, folder, decoded, tmp_path, rng):
    # Room for the samples of three pairs; the first is replaced. Its old entry goes, not those of the others.
    load(pairs, folder)
    total = sum(path.stat().st_size for path in entries(folder))
    stale = dataset._Recipe(Preparation(2), SIZE, None, True).key(pairs[0], dataset.Fingerprints())
    limit = total + 6000
    new = write_pair(tmp_path, 7, 3, rng)
    age(folder, *[path.stem for path in entries(folder) if path.stem != stale])  # the stale one is the youngest
    decoded.clear()
    load([new, *pairs[1:]], folder, limit=limit)
    assert decoded.total() == 4
    assert not (folder / f"{stale}.safetensors").exists()
    assert sum(path.stat().st_size for path in entries(folder)) <= limit


def test_what_others_write_counts(folder):
    cache = SampleCache(folder, 10_000_000)
    cache.put(KEYS[0], block(0))
    for number in range(1, 5):  # another process, meanwhile
        SampleCache(folder).put(KEYS[number], block(number, 2400))
    cache.put(KEYS[5], block(5))
    assert sum(path.stat().st_size for path in entries(folder)) <= 10_000_000
    assert {KEYS[0], KEYS[5]} <= {path.stem for path in entries(folder)}


def test_only_its_own_files_are_removed(folder):
    folder.mkdir()
    others = [folder / name for name in ("model.safetensors", "notes.txt", f".123-ab-{KEYS[1]}.safetensors")]
    left = folder / f".77-cd-{KEYS[2]}.safetensors"  # by a process that was killed
    for path in (*others, left):
        path.write_bytes(bytes(300_000))
    for path in (*others[:2], left):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    for number in range(5):
        SampleCache(folder, 350_000).put(KEYS[number], block(number))
    assert all(path.exists() for path in others)
    assert not left.exists()
    assert len([path for path in entries(folder) if path.stem in KEYS]) <= 3


def test_an_entry_that_another_process_removes_first(folder, monkeypatch):
    for number in range(3):
        SampleCache(folder, 350_000).put(KEYS[number], block(number))
    listed = module._entries

    def late(path):
        found = list(listed(path))
        for _, _, entry in found:
            entry.unlink()
        return found

    monkeypatch.setattr(module, "_entries", late)
    assert int(SampleCache(folder, 350_000).put(KEYS[3], block(3))["moving"][0, 0]) == 3
    assert [path.stem for path in entries(folder)] == [KEYS[3]]


def test_what_a_process_cannot_map_any_more_stays_in_memory(folder, monkeypatch):
    monkeypatch.setattr(module, "MAPPINGS", 2)
    cache = SampleCache(folder)
    for number in range(3):
        assert int(cache.put(KEYS[number], block(number))["moving"][0, 0]) == number
    assert len(entries(folder)) == 2


# A folder that cannot be written


def test_a_folder_that_cannot_be_is_said_once(pairs, tmp_path, decoded):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match=r"samples cannot be kept there .* stay in memory") as warned:
        found = load(pairs, tmp_path / "file" / "cache")
    assert len(warned) == 1
    assert_same(load(pairs, None), found)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="permissions do not hold for this user")
def test_a_folder_without_permission(pairs, folder):
    folder.mkdir(mode=0o500)
    with pytest.warns(UserWarning, match="Permission denied"):
        assert_same(load(pairs, None), load(pairs, folder))


def test_a_file_that_cannot_be_written_whole(pairs, folder):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.warns(UserWarning, match="samples cannot be kept there") as warned:
            found = load(pairs, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warned) == 1
    assert list(folder.iterdir()) == []
    assert_same(load(pairs, None), found)


def test_the_last_gigabyte_of_the_disk_is_left_to_others(pairs, folder, monkeypatch):
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.warns(UserWarning, match="the disk is nearly full"):
        assert_same(load(pairs, None), load(pairs, folder))
    assert not entries(folder)


def test_a_cache_that_may_only_be_read_is_used(pairs, folder, decoded, monkeypatch):
    load(pairs, folder)

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "utime", refuse)
    decoded.clear()
    load(pairs, folder)
    assert not decoded


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_folder_is_for_the_user_alone(pairs, tmp_path):
    load(pairs, tmp_path / "a" / "samples")
    assert (tmp_path / "a").stat().st_mode & 0o777 == (tmp_path / "a" / "samples").stat().st_mode & 0o777 == 0o700


# Several processes


def test_processes_begin_in_different_places_and_end_alike(pairs, folder, monkeypatch):
    plain = load(pairs, None)
    orders = []
    prepare = dataset._prepare

    def noted(pair, *rest):
        orders[-1].append(pair.id)
        return prepare(pair, *rest)

    monkeypatch.setattr(dataset, "_prepare", noted)
    for process in range(3):
        orders.append([])
        assert_same(plain, load(pairs, folder / str(process), part=(process, 3)))
    assert orders == [
        ["pair0", "pair1", "pair2"],
        ["pair1", "pair2", "pair0"],
        ["pair2", "pair0", "pair1"],
    ]


WORKER = """
import hashlib, sys
from pathlib import Path
from heteroreg.data.samples.cache import SampleCache
from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.dataset import load_samples
from heteroreg.data.samples.preparation import Preparation

cohort, folder, limit, part = Cohort.read(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
digests = set()
for k in range(10):
    # Something else in between, which pushes out what the other process is using.
    load_samples(cohort, Preparation(2), (24, 24 + k), cache=SampleCache(folder, limit), part=(part, 2))
    samples = load_samples(
        cohort, Preparation(2), (32, 32), labels=True, cache=SampleCache(folder, limit), part=(part, 2)
    )
    parts = samples.images(range(len(samples))), samples.labels(range(len(samples)))
    digests.add(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
print(*digests)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1e9, pytest.param(200_000, marks=pytest.mark.long)])
def test_two_processes_at_once(limit, cohort_2d: Cohort, folder):
    samples = load(cohort_2d, None, size=(32, 32))
    parts = samples.images(range(len(samples))), samples.labels(range(len(samples)))
    expected = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
    command = [sys.executable, "-W", "error::UserWarning", "-c", WORKER, cohort_2d.name, str(folder), str(limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [*command, str(part)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for part in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # both begin now
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.communicate(timeout=120)[0].split() == [expected]
        assert worker.returncode == 0
    assert not [path for path in folder.iterdir() if path not in entries(folder)]
    assert sum(path.stat().st_size for path in entries(folder)) <= limit * 1.1


# Where it is


def test_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HETEROREG_CACHE", str(tmp_path))
    assert SampleCache.of_environment().folder == tmp_path / "samples"
    assert SampleCache.of_environment().limit == 20e9
    monkeypatch.setenv("HETEROREG_CACHE", "~/here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SampleCache.of_environment().folder == tmp_path / "here" / "samples"
    monkeypatch.delenv("HETEROREG_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert SampleCache.of_environment().folder == tmp_path / ".cache" / "heteroreg" / "samples"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert SampleCache.of_environment().folder == tmp_path / "xdg" / "heteroreg" / "samples"
    monkeypatch.setenv("HETEROREG_CACHE_LIMIT", "0.5")
    assert SampleCache.of_environment().limit == 5e8


@pytest.mark.parametrize("value", ["", "0", "off", "OFF", " off "])
def test_it_can_be_switched_off(value, pairs, monkeypatch, decoded):
    monkeypatch.setenv("HETEROREG_CACHE", value)
    assert SampleCache.of_environment().folder is None
    for _ in range(2):
        load_samples(pairs, Preparation(2), SIZE)
    assert decoded.total() == 12


@pytest.mark.parametrize("value", ["0", "-1", "much", "nan"])
def test_a_limit_that_is_none(value, monkeypatch):
    monkeypatch.setenv("HETEROREG_CACHE_LIMIT", value)
    with pytest.raises(UserError, match=f"HETEROREG_CACHE_LIMIT={value}: write the size"):
        SampleCache.of_environment()
