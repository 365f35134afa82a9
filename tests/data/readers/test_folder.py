import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.importing import import_cohort
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.readers.folder import read_folder
from heteroreg.system.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["a_moving.nii.gz", "a_fixed.nii.gz"], {"a": ("a_moving.nii.gz", "a_fixed.nii.gz")}),
        (
            ["p1_ED.mha", "p1_ES.mha", "p2_ed.nrrd", "p2_es.nrrd"],
            {"p1": ("p1_ED.mha", "p1_ES.mha"), "p2": ("p2_ed.nrrd", "p2_es.nrrd")},
        ),
        (["heart-2_Moving.PNG", "heart-2_FIXED.png"], {"heart-2": ("heart-2_Moving.PNG", "heart-2_FIXED.png")}),
        (["x/ED.nii", "x/ES.nii"], {"x": ("x/ED.nii", "x/ES.nii")}),
        (  # the same name in two folders
            ["a/1_ED.nii", "a/1_ES.nii", "b/1_ED.nii", "b/1_ES.nii"],
            {"a_1": ("a/1_ED.nii", "a/1_ES.nii"), "b_1": ("b/1_ED.nii", "b/1_ES.nii")},
        ),
    ],
)
def test_names(tmp_path, names, pairs):
    touch(tmp_path, *names, "readme.txt", "atlas.nii.gz", "speed.nii.gz")
    found = {pair.id: (pair.moving, pair.fixed) for pair in read_folder(tmp_path)}
    assert found == {name: (tmp_path / m, tmp_path / f) for name, (m, f) in pairs.items()}


@pytest.mark.parametrize("suffix", ["labels", "label", "gt", "GT", "seg", "mask"])
def test_labels(tmp_path, suffix):
    touch(tmp_path, "a_ED.nii.gz", "a_ES.nii.gz", f"a_ED_{suffix}.nii.gz", f"a_ES_{suffix}.nii.gz")
    (pair,) = read_folder(tmp_path)
    assert pair.moving_labels == tmp_path / f"a_ED_{suffix}.nii.gz"
    assert pair.fixed_labels == tmp_path / f"a_ES_{suffix}.nii.gz"


def test_folders_give_the_split(tmp_path):
    touch(tmp_path, *[f"{part}/{part[0]}_{role}.nii" for part in ("train", "val", "test") for role in ("ED", "ES")])
    splits = {pair.moving.parent.name: pair.split for pair in read_folder(tmp_path)}
    assert splits == {"train": "train", "val": "val", "test": "test"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"contains no pairs; looked for ID_moving and ID_fixed, or ID_ED and ID_ES.*\.nii\.gz.*\.png"),
        (["a_ED.nii"], r"a_ED.nii: has no fixed image beside it \(a_fixed or a_ES\)"),
        (["a_fixed.nii"], r"a_fixed.nii: has no moving image beside it \(a_moving or a_ED\)"),
        (["a_ED.nii", "a_moving.nii", "a_ES.nii"], "is the same image of a pair"),
        (["a_ED.nii", "a_ED.nii.gz", "a_ES.nii"], "is the same image of a pair"),
    ],
)
def test_what_does_not_fit(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path)


def test_import_through_a_link(tmp_path):
    data = tmp_path / "disk" / "data"
    for k in range(4):
        for role in ("ED", "ES"):
            write_image(Image.from_array(np.full((4, 5), k, dtype=np.float32)), data / f"p{k}_{role}.nii.gz")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    cohort = import_cohort("folder", data, tmp_path / "link" / "cohort", split=(50, 25, 25), seed=0)
    assert read_image(cohort[2].fixed).array[0, 0] == 2
    assert sorted(pair.split for pair in cohort) == ["test", "train", "train", "val"]


def test_import_never_replaces_what_it_did_not_write(tmp_path):
    touch(tmp_path, "data/a_ED.nii", "data/a_ES.nii", "data/pairs.csv", "data/import.json")
    for out in (tmp_path / "data", tmp_path):
        with pytest.raises(UserError, match="contains the data set itself"):
            import_cohort("folder", tmp_path / "data", out)
    touch(tmp_path, "mine/pairs.csv")
    with pytest.raises(UserError, match="did not write"):
        import_cohort("folder", tmp_path / "data", tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "a_ED.nii",
        "a_ES.nii",
        "import.json",
        "pairs.csv",
    ]
    import_cohort("folder", tmp_path / "data", tmp_path / "out")
    assert len(import_cohort("folder", tmp_path / "data", tmp_path / "out")) == 1  # its own it does


def test_unknown_kind(tmp_path):
    with pytest.raises(UserError, match="'bids' is not a known data set; use acdc, camus, dicom, folder"):
        import_cohort("bids", tmp_path, tmp_path / "out")


def test_a_reader_from_elsewhere(tmp_path, monkeypatch):
    pair = "Pair('a', source / '1.nii', source / '2.nii')"
    code = f"from heteroreg import Pair\ndef mine(source):\n    return [{pair}]\n"
    (tmp_path / "reader_of_mine.py").write_text(code)
    touch(tmp_path / "data", "1.nii", "2.nii")
    monkeypatch.syspath_prepend(tmp_path)
    (pair,) = import_cohort("reader_of_mine:mine", tmp_path / "data", tmp_path / "out")
    assert (pair.id, pair.fixed.name) == ("a", "2.nii")
    with pytest.raises(UserError, match="reader_of_mine has no other"):
        import_cohort("reader_of_mine:other", tmp_path / "data", tmp_path / "other")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["imagesTr/p1_ED.nii", "imagesTr/p1_ES.nii"], ["labelsTr/p1_ED.nii", "labelsTr/p1_ES.nii"]),
        (["imagesTr/p1_ED_0000.nii", "imagesTr/p1_ES_0000.nii"], ["labelsTr/p1_ED.nii", "labelsTr/p1_ES.nii"]),
        (["p1/ED.nii", "p1/ES.nii"], ["p1/labels/ED.nii", "p1/labels/ES.nii"]),
        (["images/p1_ED.nii", "images/p1_ES.nii"], ["masks/p1_ED_mask.nii", "masks/p1_ES_mask.nii"]),
    ],
)
def test_label_maps_in_a_folder_of_their_own(tmp_path, images, labels):
    touch(tmp_path, *images, *labels)
    (pair,) = read_folder(tmp_path)
    assert [pair.moving, pair.fixed] == [tmp_path / name for name in images]
    assert [pair.moving_labels, pair.fixed_labels] == [tmp_path / name for name in labels]


def test_label_maps_without_images_are_refused_with_their_folder(tmp_path):
    touch(tmp_path, "imagesTr/other.nii", "labelsTr/p1_ED.nii", "labelsTr/p1_ES.nii")
    with pytest.raises(UserError, match=r"labelsTr: holds label maps without their images, such as p1_ED.nii"):
        read_folder(tmp_path)


def test_several_channels_are_refused(tmp_path):
    touch(tmp_path, *[f"imagesTr/p1_{phase}_000{k}.nii" for phase in ("ED", "ES") for k in (0, 1)])
    with pytest.raises(UserError, match=r"is another channel of p1_ED_0000.nii"):
        read_folder(tmp_path)


def test_images_of_two_parts_name_the_split(tmp_path):
    touch(tmp_path, *[f"images{part}/p{part}_{phase}.nii" for part in ("Tr", "Ts") for phase in ("ED", "ES")])
    assert {pair.id: pair.split for pair in read_folder(tmp_path)} == {"pTr": "train", "pTs": "test"}


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["p1/visit1/", "p1/visit2/", "p2/visit1/"], ["p1", "p1", "p2"]),
        (
            ["patient0001_2CH_", "patient0001_4CH_", "patient0002_2CH_"],
            ["patient0001", "patient0001", "patient0002"],
        ),
        (["sub-01_ses-1_", "sub-01_ses-2_", "sub-02_ses-1_"], ["sub-01", "sub-01", "sub-02"]),
        (["case_001_", "case_002_"], ["case_001", "case_002"]),
        (["anna_visit1_", "anna_visit2_", "ben_visit1_"], ["anna", "anna", "ben"]),
        (["site1/p3_", "site1/p4_"], ["p3", "p4"]),
        (["healthy/anna_", "healthy/ben_"], ["anna", "ben"]),
        (["study_2_p1_", "study_2_p2_"], ["study_2_p1", "study_2_p2"]),  # a stem that all share names no patient
    ],
)
def test_the_patient_is_guessed(tmp_path, names, patients):
    touch(tmp_path, *[f"{name}{phase}.nii" for name in names for phase in ("ED", "ES")])
    assert [pair.patient for pair in read_folder(tmp_path)] == patients


def test_visits_of_a_patient_stay_in_one_split_by_a_pattern(tmp_path):
    touch(tmp_path / "data", *[f"{x}of{p}_{phase}.nii" for p in "123456" for x in "ab" for phase in ("ED", "ES")])
    cohort = import_cohort("folder", tmp_path / "data", tmp_path / "out", patient=r"of(\d)")
    assert {pair.patient for pair in cohort} == set("123456")
    assert all(len({pair.split for pair in cohort if pair.patient == p}) == 1 for p in "123456")
    for pattern, message in (("(", "is not a regular expression"), ("xyz", "is not found in aof1_ED.nii")):
        with pytest.raises(UserError, match=message):
            import_cohort("folder", tmp_path / "data", tmp_path / "other", patient=pattern)


def test_what_is_left_out_is_counted(tmp_path):
    touch(tmp_path, "p1_ED.nii", "p1_ES.nii", "atlas.nii.gz", "notes.txt", "README", "p2_ED.hdr", "p2_ED.img")
    for name in ("mean", "sd"):
        write_image(Image.from_array(np.ones((8, 8))), tmp_path / f"{name}.nii.gz")
    left_out = LeftOut()
    read_folder(tmp_path, left_out=left_out)
    assert [line.split(", such as ")[0] for line in left_out.lines()] == [
        "left out 2: files of other formats than .nii.gz, .nii, .mha, .mhd, .nrrd, .png",
        "left out 1: files that cannot be read",
        "left out 2: names that do not end in _moving, _fixed, _ED or _ES",
    ]


def write_cine(folder, name, areas, labels="_gt", axes=4):
    """A series whose label 3 has so many voxels in each frame."""
    shape = (8, 8, 2)[: axes - 1]
    maps = np.zeros((*shape, len(areas)), np.uint8)
    for k, area in enumerate(areas):
        maps[..., k].reshape(-1)[:area] = 3
    image = maps * 50 + np.random.default_rng(0).integers(0, 9, maps.shape)
    nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), folder / f"{name}.nii.gz")
    if labels:
        nib.save(nib.Nifti1Image(maps, np.eye(4)), folder / f"{name}{labels}.nii.gz")


def test_a_series_in_time_is_a_pair_of_its_largest_and_smallest(tmp_path):
    write_cine(tmp_path, "p1", [5, 9, 0, 4])
    write_cine(tmp_path, "p2", [9, 5, 4, 6])
    write_cine(tmp_path, "p3", [9, 5, 4, 6], labels="")
    left_out = LeftOut()
    found = read_folder(tmp_path, left_out=left_out)
    assert [(pair.id, pair.moving.name, pair.fixed_labels.name) for pair in found] == [
        ("p1", "p1.nii.gz#1", "p1_gt.nii.gz#3"),
        ("p2", "p2.nii.gz#0", "p2_gt.nii.gz#2"),
    ]
    assert "left out 1: series in time without label maps" in left_out.lines()[0]
    assert [pair.fixed.name[-1] for pair in read_folder(tmp_path, frames="0,3")] == ["3"] * 3


def test_the_first_frame_with_each_other(tmp_path):
    write_cine(tmp_path, "p1_2CH", [5, 9, 0, 4], axes=3)  # x, y and time
    cohort = import_cohort("folder", tmp_path, tmp_path / "out", pairs="first-each")
    assert [(pair.id, pair.patient) for pair in cohort] == [(f"p1_2CH_{k}", "p1") for k in (1, 2, 3)]
    assert {pair.moving.name for pair in cohort} == {"p1_2CH.nii.gz#0"}
    assert [pair.labelled for pair in cohort] == [True, False, True]  # frame 2 has no labels
    for options, message in (
        ({"pairs": "all"}, "'all' is unknown"),
        ({"pairs": "first-each", "frames": "0,1"}, "leave"),
    ):
        with pytest.raises(UserError, match=message):
            read_folder(tmp_path, **options)
