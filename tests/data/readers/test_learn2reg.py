import json
from collections import Counter

import nibabel as nib
import numpy as np
import pytest
from tests.data.layouts import write_learn2reg_task

from heteroreg.data.importing import import_cohort
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.cohort import register_cohort
from heteroreg.registration.submission import write_submission
from heteroreg.system.errors import UserError


@pytest.fixture
def task(tmp_path):
    write_learn2reg_task(tmp_path / "Phantom", pairs=4, size=32, seed=4)
    return tmp_path / "Phantom"


def change(task, **entries):
    path = task / "Phantom_dataset.json"
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def image(subject, modality=0):
    return f"./imagesTr/Phantom_{subject:04d}_{modality:04d}.nii.gz"


def pair(fixed, moving):
    return {"fixed": image(*fixed), "moving": image(*moving)}


def test_pairs_labels_and_parts(task, tmp_path):
    cohort = import_cohort("learn2reg", task, tmp_path / "cohort")
    assert Counter(pair.split for pair in cohort) == {"train": 3, "val": 1}
    first = cohort[0]
    assert (first.id, first.patient) == ("0001_0001", "0001")
    assert first.fixed.resolve() == task / "imagesTr" / "Phantom_0001_0000.nii.gz"
    assert first.moving.resolve() == task / "imagesTr" / "Phantom_0001_0001.nii.gz"
    assert first.moving_labels.resolve() == task / "labelsTr" / "Phantom_0001_0001.nii.gz"


def test_the_list_itself_may_be_named(task, tmp_path):
    (task / "Other_dataset.json").write_text("{}")
    with pytest.raises(UserError, match="contains several lists"):
        import_cohort("learn2reg", task, tmp_path / "cohort")
    assert len(import_cohort("learn2reg", task / "Phantom_dataset.json", tmp_path / "cohort")) == 4


def test_single_images_are_paired_each_with_the_next(task, tmp_path):
    # Of the images 1 to 4 of modality 0, the last validates: 1, 2 and 3 train, each moved by the next.
    single = [{"image": image(subject)} for subject in (1, 2, 3, 4)]
    val = [pair((4, 0), (4, 1))]
    change(task, training_paired_images=None, training=single, registration_val=val)
    cohort = import_cohort("learn2reg", task, tmp_path / "cohort")
    assert [pair.id for pair in cohort.split("train")] == ["0001_0002", "0002_0003", "0003_0001"]


def test_what_validates_does_not_train(task, tmp_path):
    pairs = [pair((1, 0), (1, 1)), pair((2, 0), (2, 1)), pair((4, 0), (1, 1))]
    change(task, training_paired_images=pairs, registration_val=[pair((4, 0), (4, 1))])
    cohort = import_cohort("learn2reg", task, tmp_path / "cohort")
    assert [pair.id for pair in cohort.split("train")] == ["0001_0001", "0002_0002"]


def test_modalities_are_in_the_id_where_the_challenge_wants_them(task, tmp_path):
    pairs = [pair((1, 0), (1, 1)), pair((2, 1), (2, 0)), pair((3, 1), (1, 1))]
    change(task, training_paired_images=pairs)
    cohort = import_cohort("learn2reg", task, tmp_path / "cohort")
    assert [pair.id for pair in cohort.split("train")] == ["0001_0001", "0002_0001_0002_0000", "0003_0001"]


def test_a_test_that_is_kept_back_is_left_out(task, tmp_path):
    change(
        task,
        registration_test=[{"fixed": "./imagesTs/P_0009_0000.nii.gz", "moving": "./imagesTs/P_0010_0000.nii.gz"}],
    )
    assert import_cohort("learn2reg", task, tmp_path / "cohort").splits == ("train", "val")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"registration_val": [pair((9, 0), (4, 1))]}, "Phantom_0009_0000.nii.gz: is missing"),
        ({"registration_val": [{"fixed": image(4)}]}, "is not a list of a Learn2Reg task"),
        ({"registration_val": 3}, "is not a list of a Learn2Reg task"),
        ({"registration_val": [{"fixed": "a.nii.gz", "moving": image(4)}]}, "not of the form"),
        ({"registration_val": [{"fixed": "../../P_0001_0000.nii.gz", "moving": image(4)}]}, "outside its folder"),
        ({"registration_val": [], "training_paired_images": [], "training": []}, "lists no pairs"),
    ],
)
def test_a_damaged_list_is_told(task, tmp_path, entries, message):
    change(task, **entries)
    with pytest.raises(UserError, match=message):
        import_cohort("learn2reg", task, tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_a_folder_without_a_list_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in ((tmp_path / "empty", "contains no list"), (tmp_path / "none", "no such folder")):
        with pytest.raises(UserError, match=message):
            import_cohort("learn2reg", source, tmp_path / "cohort")


class TestSubmission:
    @pytest.fixture
    def registered(self, task, tmp_path):
        cohort = import_cohort("learn2reg", task, tmp_path / "cohort")
        register_cohort(Undeformed(), cohort.split("val"), tmp_path / "registered")
        return tmp_path / "registered"

    def test_a_field_for_each_pair(self, registered, tmp_path):
        assert write_submission(registered, tmp_path / "out") == 1
        written = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert written == ["disp_0004_0004.nii.gz", "heteroreg.json"]
        field = nib.load(tmp_path / "out" / "disp_0004_0004.nii.gz")
        assert field.shape == (32, 32, 6, 3)
        assert field.get_data_dtype() == np.float32
        assert write_submission(registered, tmp_path / "out") == 1  # once more is no fault

    def test_what_is_no_registered_task_is_told(self, registered, tmp_path):
        with pytest.raises(UserError, match=r"holds no registrations\.csv"):
            write_submission(tmp_path, tmp_path / "out")
        table = registered / "registrations.csv"
        text = table.read_text()
        for old, new, message in (
            ("0004_0004,", "heart,", "'heart' is not an id of Learn2Reg"),
            (text.splitlines()[1], text.splitlines()[1] + "it broke", "failed \\(it broke\\)"),
        ):
            table.write_text(text.replace(old, new, 1))
            with pytest.raises(UserError, match=message):
                write_submission(registered, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_counted(task, tmp_path):
    """Pair 2 trains with an image of val, the test images are kept back, and pair 3 is in no list."""
    val = [pair((4, 0), (4, 1))]
    change(
        task,
        training=[],
        training_paired_images=[pair((1, 0), (1, 1)), pair((2, 0), (4, 1))],
        registration_val=val,
        registration_test=[pair((8, 0), (8, 1)), pair((9, 0), (9, 1))],
    )
    left_out = LeftOut()
    cohort = import_cohort("learn2reg", task, tmp_path / "cohort", left_out=left_out)
    assert len(cohort) == 2
    assert {reason: len(paths) for reason, paths in left_out.by_reason.items()} == {
        "training pairs with an image of val or test": 1,
        "test pairs whose images are not there": 2,
        "images of no pair": 8,  # 2 pairs, with their label maps
    }
