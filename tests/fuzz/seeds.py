"""Small valid files of every format that the program reads."""

from __future__ import annotations

import contextlib
import io
import locale
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture
from tests.data import dicom_writer

from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.io.displacement import write_displacement
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation import evaluate
from heteroreg.registration.classical import Undeformed
from heteroreg.training import train

GRID_2D = Grid.of_shape((20, 18), (1.5, 1.25))
GRID_3D = Grid((12, 10, 6), (1.5, 1.25, 8.0), (-10.0, 5.0, 30.0), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Seed:
    """A valid input.

    Attributes:
        format: What it is a file of.
        reader: The name of the function in `readers` that opens it.
        files: Path below the input's folder → content.
        opened: The file or folder that the reader is given.
        spoiled: The files that may be spoiled; one of them is, in each input.
    """

    format: str
    reader: str
    files: dict[str, bytes]
    opened: str
    spoiled: tuple[str, ...]


def build(folder: Path) -> dict[str, list[Seed]]:
    """Format → its seeds, made in `folder`."""
    rng = np.random.default_rng(5)
    made: dict[str, list[Seed]] = {}
    for make in (
        nifti,
        names,
        metaimage,
        nrrd,
        png,
        dicom,
        fields,
        labels,
        headers,
        transforms,
        cohorts,
        settings,
        runs,
        evaluations,
        imports,
    ):
        place = folder / make.__name__
        place.mkdir()
        for seed in make(place, rng):
            made.setdefault(seed.format, []).append(seed)
    return made


def collect(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _single(format_: str, reader: str, path: Path) -> Seed:
    return Seed(format_, reader, {path.name: path.read_bytes()}, path.name, (path.name,))


def _array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return rng.integers(0, 200, size=shape).astype(dtype)


def nifti(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """NIfTI-1, both byte orders, with intensity scaling, with an extension, compressed or not."""
    affine = np.diag([-1.5, -1.25, 8.0, 1.0])
    images = {
        "float": nib.Nifti1Image(_array(rng, (12, 10, 6)), affine),
        "flat": nib.Nifti1Image(_array(rng, (20, 18), "uint8"), affine),
        "film": nib.Nifti1Image(_array(rng, (9, 8, 6, 1), "int16"), affine),
        "big": nib.Nifti1Image(
            _array(rng, (12, 10, 6), "int16"), affine, nib.Nifti1Header(endianness=">")
        ),
    }  # fmt: skip
    images["float"].header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a note of sixteen"))
    images["film"].header.set_slope_inter(0.5, 3.0)
    seeds = []
    for name, image in images.items():
        for format_, ending in (("nifti", ".nii"), ("nifti-gz", ".nii.gz")):
            nib.save(image, folder / f"{name}{ending}")
            seeds.append(_single(format_, "image", folder / f"{name}{ending}"))
    return seeds


def names(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Sound images of each format, whose names are spoiled in place of their content."""
    image = _itk(_array(rng, (12, 10, 6)), GRID_3D)
    flat = _itk(_array(rng, (20, 18), "uint8"), GRID_2D)
    seeds = []
    for ending in ("nii", "nii.gz", "mha", "nrrd", "png"):
        path = folder / f"a.{ending}"
        sitk.WriteImage(flat if ending == "png" else image, str(path))
        seeds.append(Seed("name", "named", {path.name: path.read_bytes()}, path.name, ()))
    return seeds


def _itk(array: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def metaimage(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Header and data in one file or in two, compressed or not."""
    seeds = []
    for name, grid, dtype in (("flat", GRID_2D, "uint8"), ("volume", GRID_3D, "float32")):
        for compressed in (False, True):
            for ending in (".mha", ".mhd"):
                place = folder / f"{name}{compressed}{ending[1:]}"
                place.mkdir()
                image = _itk(_array(rng, grid.shape, dtype), grid)
                sitk.WriteImage(image, str(place / f"a{ending}"), useCompression=compressed)
                files = collect(place)
                seeds.append(Seed("metaimage", "image", files, f"a{ending}", (f"a{ending}", *files)))
    return seeds


def nrrd(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Raw and compressed, and a header with the data beside it."""
    seeds = []
    for name, grid, dtype in (("flat", GRID_2D, "int16"), ("volume", GRID_3D, "float32")):
        for compressed in (False, True):
            path = folder / f"{name}{compressed}.nrrd"
            sitk.WriteImage(_itk(_array(rng, grid.shape, dtype), grid), str(path), useCompression=compressed)
            seeds.append(_single("nrrd", "image", path))
    head, _, data = seeds[0].files["flatFalse.nrrd"].partition(b"\n\n")
    files = {"a.nhdr": head + b"\ndata file: a.raw\n", "a.raw": data}
    seeds.append(Seed("nrrd", "image", files, "a.nhdr", ("a.nhdr", *files)))
    return seeds


def png(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Grey of 8 and 16 bits, colour, colour with transparency, a palette, one bit."""
    grey = rng.integers(0, 256, size=(18, 20), dtype=np.uint8)
    pictures = {
        "grey": Picture.fromarray(grey),
        "deep": Picture.fromarray(grey.astype(np.uint16) * 200),
        "colour": Picture.fromarray(rng.integers(0, 256, size=(18, 20, 3), dtype=np.uint8)),
        "clear": Picture.fromarray(rng.integers(0, 256, size=(18, 20, 4), dtype=np.uint8)),
        "palette": Picture.fromarray(grey).quantize(16),
        "bit": Picture.fromarray(grey).convert("1"),
    }
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return [_single("png", "image", folder / f"{name}.png") for name in pictures]


def dicom(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Series of three slices, plain and compressed, and cines of two frames: classic, enhanced, and a clip."""
    before = locale.setlocale(locale.LC_ALL)
    seeds = []
    for name, compressed in (("plain", False), ("compressed", True)):
        place = folder / name / "series"
        place.mkdir(parents=True)
        array = _array(rng, (16, 12, 3), "int16")
        for k in range(3):
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetUseCompression(compressed)
            image = _itk(array[:, :, k : k + 1], Grid.of_shape((16, 12, 1), (1.5, 1.25, 8.0)))
            tags = {
                "0008|0060": "MR", "0020|000e": "1.2.3", "0020|000d": "1.2", "0008|0018": f"1.2.3.{k}",
                "0020|0013": str(k), "0020|0032": f"-10\\5\\{8 * k}", "0020|0037": "1\\0\\0\\0\\1\\0",
                "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0018|0050": "8", "0010|0010": "Doe^Jo",
                "0020|0052": "1.2.5", "0008|0012": "20240102", "0008|0013": "030405",
                "0008|0020": "20240102", "0008|0030": "030405",
            }  # fmt: skip
            for tag, value in tags.items():
                image.SetMetaData(tag, value)
            writer.SetFileName(str(place / f"{k}.dcm"))
            writer.Execute(image)
        files = collect(folder / name)
        seeds.append(Seed("dicom", "series", files, "series", tuple(files)))
    locale.setlocale(locale.LC_ALL, before)  # GDCM leaves "C" behind
    array = _array(rng, (16, 12, 3, 2), "uint16")
    colours = _array(rng, (2, 16, 12, 3), "uint8")
    dicom_writer.write_classic(folder / "classic" / "cine.dcm", array, ending=".dcm")
    dicom_writer.write_enhanced(folder / "enhanced" / "cine.dcm", array)
    dicom_writer.write_clip(folder / "clip" / "cine.dcm", colours)
    for name in ("classic", "enhanced", "clip"):
        files = collect(folder / name)
        seeds.append(Seed("dicom", "frame", files, "cine.dcm#1", tuple(files)))
    return seeds


def fields(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """ITK displacement fields."""
    seeds = []
    for grid in (GRID_2D, GRID_3D):
        for ending in (".nii.gz", ".nii", ".mha", ".nrrd"):
            path = folder / f"field{grid.dims}{ending}"
            write_displacement(rng.normal(size=(grid.dims, *grid.shape)), grid, path)
            seeds.append(_single("field", "field", path))
    return seeds


def labels(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Label maps: with a mask for each label along a fourth axis, with rounding errors, of a palette, of Slicer."""
    seeds = []
    for ending, dtype in ((".nii.gz", "uint8"), (".nii", "float32"), (".nrrd", "uint8"), (".mha", "int16")):
        path = folder / f"labels{ending}"
        sitk.WriteImage(_itk(rng.integers(0, 4, GRID_3D.shape).astype(dtype), GRID_3D), str(path))
        seeds.append(_single("labels", "labels", path))
    masks = rng.integers(0, 2, (12, 10, 6, 3)).astype(np.uint8)
    nib.save(nib.Nifti1Image(masks, np.eye(4)), folder / "masks.nii")
    rounded = rng.integers(0, 4, (12, 10, 6)).astype(np.float32) * np.float32(0.99999)
    nib.save(nib.Nifti1Image(rounded, np.eye(4)), folder / "rounded.nii.gz")
    frames = rng.integers(0, 4, (12, 10, 6, 3)).astype(np.uint8)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), folder / "frames.nii")
    palette = Picture.fromarray(rng.integers(0, 4, (18, 20)).astype(np.uint8), "P")
    palette.putpalette([(k * 37 + c * 11) % 256 for k in range(256) for c in range(3)])
    palette.save(folder / "palette.png")
    slicer = _itk(rng.integers(0, 3, GRID_3D.shape).astype("uint8"), GRID_3D)
    slicer.SetMetaData("Segmentation_ConversionParameters", "&".join(["a parameter|1|what it does"] * 80))
    sitk.WriteImage(slicer, str(folder / "a.seg.nrrd"), True)
    return [
        *seeds,
        Seed(
            "labels",
            "labels",
            {"frames.nii": (folder / "frames.nii").read_bytes()},
            "frames.nii#1",
            ("frames.nii",),
        ),
        *(
            _single("labels", "labels", folder / name)
            for name in ("masks.nii", "rounded.nii.gz", "palette.png", "a.seg.nrrd")
        ),
    ]


def headers(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Headers that disagree with themselves, axes of one voxel, time points and label maps in place of images."""
    affine = np.array([[-1.5, 0, 0, 20], [0, -1.25, 0, -10], [0, 0, 8.0, 5], [0, 0, 0, 1]])
    other = affine.copy()
    other[:3, 3] += 25, -18, 0
    sagittal = np.array([[0, 0, 1.0, 3], [2, 0, 0, 4], [0, 3, 0, 5], [0, 0, 0, 1]])
    images = {
        "coregistered": (nib.Nifti1Image(_array(rng, (12, 10, 6), "int16"), affine), other),
        "sagittal": (nib.Nifti1Image(_array(rng, (1, 18, 20), "int16"), affine), None),
        "coronal": (nib.Nifti1Image(_array(rng, (18, 1, 20), "int16"), affine), None),
        "slice": (nib.Nifti1Image(_array(rng, (20, 18, 1), "int16"), affine), None),
        "plane": (nib.Nifti1Image(_array(rng, (20, 18), "int16"), sagittal), None),
    }
    seeds = []
    for name, (image, form) in images.items():
        if form is not None:
            image.set_qform(form, 1)
            image.set_sform(affine, 2)
        nib.save(image, folder / f"{name}.nii")
        seeds.append(_single("header", "image", folder / f"{name}.nii"))
    frames = 90 + 30 * np.sin(np.arange(12) * np.pi / 6) * np.hypot(*np.mgrid[-9:9, -9:9])[..., None]
    cine = nib.Nifti1Image(frames.astype(np.int16), affine)  # time points in place of slices
    cine.header.set_xyzt_units(t="sec")
    stretched = nib.Nifti1Image(_array(rng, (12, 10, 6)), affine)
    stretched.header["pixdim"][1:4] = 1, 1, 1  # beside an sform of 1.5 mm
    disguised = nib.Nifti1Image(np.kron(rng.integers(0, 3, (4, 4, 2)), np.ones((4, 4, 2))).astype(np.int16), affine)
    for name, image in (("cine", cine), ("stretched", stretched), ("disguised", disguised)):
        image.to_filename(folder / f"{name}.nii")
        seeds.append(_single("header", "image", folder / f"{name}.nii"))
    for name, kind in (("nifti", nib.Nifti1Pair), ("analyze", nib.AnalyzeImage)):
        place = folder / name
        place.mkdir()
        nib.save(kind(_array(rng, (12, 10, 6)), np.eye(4)), place / "a.img")
        seeds.append(Seed("header", "image", collect(place), "a.hdr", ("a.hdr", "a.img")))
    return seeds


def transforms(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Deformations of SPM and NiftyReg, which look like ITK's fields."""
    affine = np.diag([-2.0, 1.5, 4.0, 1.0])
    seeds = []
    for name, intent, kind in (("spm", b"Mapping", 0), ("niftyreg", b"NREG_TRANS", 1)):
        image = nib.Nifti1Image(rng.normal(size=(6, 5, 4, 1, 3)).astype(np.float32), affine)
        header = image.header
        header["intent_code"], header["intent_name"], header["intent_p1"] = 1007, intent, kind
        nib.save(image, folder / f"{name}.nii")
        seeds.append(_single("transform", "transform", folder / f"{name}.nii"))
    return seeds


def cohorts(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Tables of pairs."""
    plain = "id,moving,fixed\na,a_ED.nii.gz,a_ES.nii.gz\nb,sub/b ED.nii,sub/b ES.nii\n"
    rich = (
        "id,patient,split,moving,fixed,moving_labels,fixed_labels,true_displacement,scanner\r\n"
        'p1,"Müller, 1",train,x/a.mha,x/b.mha,x/c.mha,x/d.mha,x/u.nii.gz,A\r\n'
        'p2,p2,val,x/a.nrrd,x/b.nrrd,,,,"B ""2"""\r\n'
        "p3,p2,test,series,x/心.png,,,,\r\n"
    )
    return [
        Seed("cohort", "cohort", {"pairs.csv": text.encode()}, "pairs.csv", ("pairs.csv",))
        for text in (plain, rich)
    ]


def settings(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Settings as a user writes them."""
    texts = (
        "method: hetero\nsteps: 400\nsize: [32, 32]\nspacing: [1.5, 1.5]\nsmoothness: 0.02\nclip: null\n",
        "# as published\nmethod: hetero-paper\nlearning_rate: 1e-4\nwarm_start: 0.0667\naugment: false\n"
        "schedule: constant\nintensity: minmax\nbatch_size: 8\naccumulate: 2\n",
    )
    return [Seed("settings", "settings", {"s.yaml": text.encode()}, "s.yaml", ("s.yaml",)) for text in texts]


def runs(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Runs: their configuration, and the state and the tensors of their checkpoints."""
    cohort = write_phantom(folder / "cohort", pairs=4, size=32)
    assert cohort is not None
    seeds = []
    for method in ("mse", "hetero"):
        train(cohort, folder / method, method=method, steps=1, batch_size=2)
        files = {
            name: content
            for name, content in collect(folder / method).items()
            if name == "config.yaml" or name.startswith("checkpoints/last")
        }
        files = {f"run/{name}": content for name, content in files.items()}
        place = str(folder / "cohort").encode()
        files["run/config.yaml"] = files["run/config.yaml"].replace(place, b"cohort")
        for format_, ending in (("config", ".yaml"), ("state", ".json"), ("safetensors", ".safetensors")):
            spoiled = tuple(name for name in files if name.endswith(ending))
            seeds.append(Seed(format_, "run", files, "run", spoiled))
    return seeds


def evaluations(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """Evaluations: scores, summary, curves and the cases of the gallery."""
    cohort = write_phantom(folder / "cohort", pairs=5, size=32)
    assert cohort is not None
    scores = evaluate(Undeformed(), Cohort(cohort.pairs, "cohort"), gallery=1, stacks=1)
    scores.table["seconds"] = 0.5  # the same in every run
    scores.summary["metrics"]["seconds"] = {"mean": 0.5, "sd": 0.0, "patients": 5}
    scores.save(folder / "scores")
    files = {f"scores/{name}": content for name, content in collect(folder / "scores").items()}
    files["scores/sparsification.csv"] = (
        b"fraction,mse,oracle,random\n0.0,0.02,0.02,0.02\n0.5,0.012,0.01,0.02\n0.9,0.002,0.001,0.02\n"
    )
    return [
        Seed(format_, "evaluation", files, "scores", tuple(name for name in files if name.endswith(ending)))
        for format_, ending in (("scores", ".csv"), ("summary", ".json"), ("gallery", ".npz"))
    ]


def imports(folder: Path, rng: np.random.Generator) -> list[Seed]:
    """The text files of the public data sets; the images beside them are empty, since they are not opened."""
    acdc = {
        "acdc/patient001/Info.cfg": b"ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\n",
        "acdc/patient001/patient001_frame01.nii.gz": b"",
        "acdc/patient001/patient001_frame12.nii.gz": b"",
    }
    camus = {
        "camus/patient0001/Info_2CH.cfg": b"ED: 1\nES: 18\nNbFrame: 18\nImageQuality: Good\nLVef: 56\n",
        "camus/patient0001/patient0001_2CH_ED.nii.gz": b"",
        "camus/patient0001/patient0001_2CH_ES.nii.gz": b"",
        "camus/database_split/subgroup_training.txt": b"patient0001\npatient0002\n",
    }
    buffer = io.BytesIO()
    file_map = nib.Nifti1Image.make_file_map({"image": buffer})
    nib.Nifti1Image(_array(rng, (8, 8, 3, 4), "int16"), np.eye(4)).to_file_map(file_map)
    import gzip

    mnms = {
        "mnms/info.csv": b"External code,ED,ES,Vendor,Centre,Pathology\nA0S9V9,0,2,A,1,NOR\nB1C2D3,,,B,2,HCM\n",
        "mnms/Training/A0S9V9_sa.nii.gz": gzip.compress(buffer.getvalue(), mtime=0),
    }
    return [
        Seed("import", kind, files, kind, tuple(name for name in files if not name.endswith(".nii.gz")))
        for kind, files in (("acdc", acdc), ("camus", camus), ("mnms", mnms))
    ]


def quietly(make: Callable[[Path], dict[str, list[Seed]]], folder: Path) -> dict[str, list[Seed]]:
    """The seeds, without what the libraries say while they are made."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return make(folder)
