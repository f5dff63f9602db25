"""Birds are cropped, split and annotated as their tables say, or refused."""

import numpy as np
import pytest
from PIL import Image

from saccade_lib.data import birds, door, drawn_birds
from saccade_lib.data.files import CorruptData, MissingData

SPLITS = ("train", "validation", "test")
EACH, KINDS = 15, (3, 7)  # pictures a species; official class numbers
BOX, SIZE = (40, 20, 40, 20), (120, 100)
CORNER = (30, 0, 90, 60)  # of the crop around BOX: middle (60, 30), half a side 30


@pytest.fixture
def copy(tmp_path):
    """Two species of the archive's layout; a red dot marks the beak."""
    top = tmp_path / "CUB_200_2011"
    for folder in ("images/003.A", "images/007.B", "parts", "attributes"):
        (top / folder).mkdir(parents=True)
    rows = {name: [] for name in ("images", "label", "split", "box", "parts")}
    for i in range(2 * EACH):
        number, kind = 100 + i, KINDS[i // EACH]
        name = f"{kind:03}.{'AB'[i // EACH]}/{number}.png"
        x, y = 45 + i, 25
        picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        picture[y - 2 : y + 3, x - 2 : x + 3, 0] = 255
        Image.fromarray(picture).save(top / "images" / name)
        rows["images"].append(f"{number} {name}")
        rows["label"].append(f"{number} {kind}")
        rows["split"].append(f"{number} {int(i % EACH < 12)}")
        rows["box"].append(f"{number} {' '.join(map(str, BOX))}")
        rows["parts"] += [f"{number} 1 {x + 0.5} {y + 0.5} 1", f"{number} 2 0 0 0"]
        rows["parts"].append(f"{number} 3 2.0 90.0 1")  # outside the crop
    files = {
        "images.txt": rows["images"],
        "image_class_labels.txt": rows["label"],
        "train_test_split.txt": rows["split"],
        "bounding_boxes.txt": rows["box"],
        "classes.txt": ["3 003.A", "7 007.B"],
        "parts/parts.txt": ["1 beak", "2 left eye", "3 tail"],
        "parts/part_locs.txt": rows["parts"],
        "attributes/class_attribute_labels_continuous.txt": ["80 10"] * 3
        + ["20 60"] * 4,
    }
    for name, lines in files.items():
        (top / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "attributes.txt").write_text("1 has_a::x\n2 has_b::y\n")  # beside it
    return tmp_path


def test_the_archive_is_read_from_its_folder_or_the_one_above(copy):
    for path in (copy, copy / "CUB_200_2011"):
        found = birds.folder(path)
        assert found.species == ("A", "B") and found.source == "birds-folder"
        assert found.parts == ("beak", "left eye", "tail")
        assert found.attributes == ("has_a::x", "has_b::y")
        assert found.of_species.tolist() == [[0.8, 0.1], [0.2, 0.6]]


def test_a_part_is_where_its_pixels_are_in_the_crop(copy):
    split = birds.folder(copy).of("test", 120)
    assert split.visible.tolist() == [[True, False, False]] * 6
    for image, place in zip(split.images, split.places[:, 0], strict=True):
        rows, columns = np.nonzero(image[0] > 128)
        middle = (np.array([columns.mean(), rows.mean()]) + 0.5) / 120 * 2 - 1
        assert np.abs(middle - place).max() < 0.02
    assert (split.places[:, 1:] == 0).all()


def test_a_crop_is_a_square_around_the_box_and_ends_with_the_picture():
    assert birds.window(BOX, SIZE) == CORNER
    assert birds.window((0, 0, 227, 227), (227, 227)) == (0, 0, 227, 227)
    with pytest.raises(CorruptData, match="no pixel"):
        birds.window((300, 20, 10, 10), SIZE)


def test_splits_never_mix_and_folds_are_even(copy):
    found = birds.folder(copy)
    ids = [set(found.of(s, 16).ids.tolist()) for s in SPLITS]
    assert [len(i) for i in ids] == [20, 4, 6]
    assert len(set.union(*ids)) == 30
    train = found.of("train", 16)
    for k in range(2):
        assert sorted(np.bincount(train.fold[train.labels == k])) == [5, 5]
    assert (found.of("test", 16).fold == -1).all()


@pytest.mark.parametrize(
    "name",
    [
        "bounding_boxes.txt",
        "parts/part_locs.txt",
        "classes.txt",
        "attributes/class_attribute_labels_continuous.txt",
    ],
)
def test_a_copy_that_lacks_a_table_is_refused_by_its_name(copy, name):
    (copy / "CUB_200_2011" / name).unlink()
    with pytest.raises(CorruptData, match=name):
        birds.folder(copy)


def test_tables_that_do_not_belong_together_are_refused(copy):
    path = copy / "CUB_200_2011/bounding_boxes.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(CorruptData, match="image 129"):
        birds.folder(copy)
    with pytest.raises(MissingData, match="SACCADE_CUB"):
        birds.folder(copy / "elsewhere")


def test_a_picture_that_is_missing_or_broken_is_named(copy):
    found = birds.folder(copy)
    victim = copy / "CUB_200_2011/images/003.A/100.png"
    victim.write_bytes(victim.read_bytes()[:20])
    with pytest.raises(CorruptData, match="100.png"):
        found.of("train", 16)
    victim.unlink()
    with pytest.raises(CorruptData, match="not there"):
        found.of("train", 16)


def test_bad_questions_are_answered_with_what_was_expected(copy):
    found = birds.drawn()
    with pytest.raises(ValueError, match="unknown split"):
        found.of("all", 32)
    with pytest.raises(ValueError, match="16 to 512"):
        found.of("train", 8)
    with pytest.raises(ValueError, match="no attribute 'wings'"):
        found.has("wings")


def test_the_environment_names_a_copy(copy, monkeypatch, capsys):
    monkeypatch.setenv("SACCADE_CUB", str(copy))
    assert birds.find().source == "birds-folder"
    assert "2 species" in capsys.readouterr().out


def test_without_any_data_birds_are_drawn(tmp_path, monkeypatch, capsys):
    for name in ("SACCADE_DATA", "SACCADE_CUB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "none"))
    assert birds.find().source == "drawn-birds"
    assert "stand-in" in capsys.readouterr().out


def test_a_drawn_bird_has_the_colours_of_its_species():
    found = birds.drawn()
    some = found.of("validation", 64)
    assert len(np.unique(some.labels)) == 16 == len(found.species)
    parts = {"crown": "crown_color", "belly": "belly_color"}
    for part, kind in parts.items():
        at = ((some.places[:, found.parts.index(part)] + 1) * 32).astype(int)
        color = some.images[np.arange(len(at)), :, at[:, 1], at[:, 0]].astype(int)
        for name in drawn_birds.KINDS[kind]:
            here = color[found.has(f"has_{kind}::{name}")[some.labels]]
            target = np.array(drawn_birds.COLORS[name])
            away = np.abs(here / here.sum(1, keepdims=True) - target / target.sum())
            assert np.median(away) < 0.05, (part, name)


def test_a_drawn_bird_is_the_same_whenever_it_is_drawn():
    first, again = (drawn_birds.draw("validation", 32) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    larger = drawn_birds.draw("validation", 64)
    assert np.array_equal(first[2], larger[2])  # places do not hang on the size


def test_attributes_divide_the_species():
    found = birds.drawn()
    assert len(found.tasks()) == 8
    for name in found.tasks():
        assert found.has(name).sum() == 8


def test_the_pack_is_cropped_to_itself():
    try:
        pack = door.find(birds.PACK, quiet=True)
    except MissingData:
        pytest.skip(f"no {birds.PACK} in SACCADE_DATA")
    found = birds.find(quiet=True)
    test = found.of("test", 227)
    assert test.images.shape == (1204, 3, 227, 227) and len(found.species) == 41
    names = dict(birds._rows(pack.path / "CUB_200_2011/images.txt"))
    first = pack.path / "CUB_200_2011/images" / names[str(test.ids[0])]
    with Image.open(first) as picture:
        whole = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(test.images[0], whole)
    assert test.visible[:, found.parts.index("beak")].mean() > 0.98
