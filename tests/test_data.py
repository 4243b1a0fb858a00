"""Data sets: what every loader promises, the published sets, fingerprints, bad input."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from lrnb import data
from lrnb.data import DATASETS, SPLITS, ImageSet, load_data
from lrnb.data.sets.shapes import SHAPE_FACTORS, draw_shapes


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    return tmp_path


def write_idx(root, name="MNIST", count=12, **changed):
    """The four idx files of a small set of 28×28 images; ``changed`` gives other bytes to one."""
    folder = root / name / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        for kind, shape in (("images_idx3", (count, 28, 28)), ("labels_idx1", (count,))):
            magic = [0, 0, 8, len(shape)]
            header = bytes(magic) + np.array(shape, ">i4").tobytes()
            values = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            content = changed.get(f"{split}_{kind}", lambda whole: whole)(header + values)
            (folder / f"{split}-{kind.replace('_', '-')}-ubyte").write_bytes(content)
    return folder


def write_celeba(root, size=(89, 109), count=20):
    folder = root / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    # left half black, right half white, a red stripe along the top
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, size[0] // 2 :] = 255
    pixels[: size[1] // 10] = (255, 0, 0)
    names = [f"{i:06d}.jpg" for i in range(1, count + 1)]
    for name in names:
        Image.fromarray(pixels).save(folder / name, quality=95)
    rows = [f"{name}  {-1 if i % 2 else 1} -1\n" for i, name in enumerate(names)]
    (folder.parent / "list_attr_celeba.txt").write_text(f"{count}\nMale Smiling\n" + "".join(rows))
    return folder


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_set_has_images_in_unit_range_with_labels(name, split, real):
    images = load_data(real(name), split, n=200)
    assert images.images.shape == (200, *DATASETS[name].image_shape)
    assert images.images.dtype == torch.float32 and images.labels.dtype == torch.int64
    assert 0 <= images.images.min() and 0.5 < images.images.max() <= 1
    assert images.labels.shape == (200,) and len(images.labels.unique()) > 1
    few = load_data(name, split, 10)
    assert torch.equal(few.images, images.images[:10])
    assert torch.equal(few.labels, images.labels[:10])
    if split == "test":
        train = load_data(name, "train", 200).images.flatten(1)
        assert torch.cdist(images.images.flatten(1), train).min() > 0


@pytest.mark.parametrize(
    ("name", "sizes", "mean", "deviation"),
    [("mnist", (60000, 10000), 0.1307, 0.3081), ("fashion_mnist", (60000, 10000), 0.2860, 0.3530)],
)
def test_published_sets_have_their_published_moments(name, sizes, mean, deviation, real):
    train, test = load_data(real(name), "train"), load_data(name, "test")
    inner = train.images[:, :, 2:-2, 2:-2]
    assert (len(train), len(test)) == sizes
    assert inner.mean().item() == pytest.approx(mean, abs=1e-4)
    assert inner.std().item() == pytest.approx(deviation, abs=1e-4)
    assert train.images.count_nonzero() == inner.count_nonzero()  # the padding is black


def test_digits_are_all_of_scikit_learns():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert len(train) + len(test) == 1797
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == set(range(10))


class TestShapes:
    def test_all_factor_combinations_occur_once(self):
        factors = torch.cat([load_data("shapes", split).factors for split in SPLITS])
        assert len(factors) == len(factors.unique(dim=0)) == 3 * 6 * 8 * 16 * 16

    def test_shapes_lie_inside_the_image(self):
        border = torch.ones(32, 32, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert load_data("shapes", "test").images[:, 0, border].max() == 0

    @pytest.mark.parametrize(
        ("x", "y", "center"), [(7.5, 7.5, (16, 16)), (15, 7.5, (24, 16)), (7.5, 0, (16, 8))]
    )
    def test_position_moves_the_center(self, x, y, center):
        image = draw_shapes(torch.tensor([[0.0, 3, 0, x, y]]))[0, 0]
        grid = torch.arange(32) + 0.5
        found = [((image.sum(axis) * grid).sum() / image.sum()).item() for axis in (0, 1)]
        assert found == pytest.approx(center, abs=0.01)

    def test_no_two_levels_of_a_factor_look_alike(self):
        for k, count in enumerate(SHAPE_FACTORS.values()):
            for shape in range(3):
                levels = torch.tensor([shape, 3.0, 3, 8, 8]).repeat(count, 1)
                levels[:, k] = torch.arange(count)
                assert torch.pdist(draw_shapes(levels).flatten(1)).min() > 0.3, (k, shape)


class TestFactors:
    def test_of_shapes_are_its_true_ones(self):
        images = load_data("shapes", "test", 300)
        factors = DATASETS["shapes"].factors(images)
        for found, true in zip(factors.T, images.factors.T, strict=True):
            assert stats.spearmanr(found, true).statistic == pytest.approx(1)
        # what has an order is a number between 0 and 1, what has none a class
        classes = [bool((column == column.round()).all()) for column in factors.T]
        assert classes == [name in ("shape", "angle") for name in images.factor_names]

    def test_of_digits_are_the_labels(self):
        images = load_data("digits", "test", 20)
        assert DATASETS["digits"].factors(images).tolist() == images.labels[:, None].tolist()

    def test_of_celeba_are_its_common_attributes_the_balanced_first(self):
        ones = torch.tensor([4, 50, 97, 20, 95, 60])  # of a hundred
        attributes = (torch.arange(100)[:, None] < ones).float()
        faces = ImageSet("celeba", "test", torch.zeros(100, 1), torch.zeros(100), attributes)
        assert DATASETS["celeba"].factors(faces).sum(0).tolist() == [50, 60, 20, 95]


@pytest.mark.parametrize("size", [(178, 218), (89, 109)])
def test_celeba_crop_is_central_at_either_size(root, size):
    write_celeba(root, size)
    train, test = load_data("celeba", "train"), load_data("celeba", "test")
    assert (len(train), len(test)) == (18, 2)
    image = train.images[0]
    assert image[:, :, :28].max() < 0.1 and image[:, :, 36:].min() > 0.9  # stripe cropped away
    assert train.labels[:4].tolist() == [1, 0, 1, 0]
    assert train.factor_names == ("Male", "Smiling")


def test_celeba_uses_the_official_partition_where_it_is(root):
    folder = write_celeba(root, count=6)
    parts = [f"{i:06d}.jpg {part}" for i, part in enumerate([0, 0, 0, 1, 2, 2], start=1)]
    (folder.parent / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    assert (len(load_data("celeba", "train")), len(load_data("celeba", "test"))) == (3, 2)


class TestFingerprint:
    def change_in_place(self, file):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))  # clocks can be coarse

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
            ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
            ("fashion_mnist", "FashionMNIST/raw/train-labels-idx1-ubyte"),
            ("celeba", "celeba/img_align_celeba/000003.jpg"),
            ("celeba", "celeba/list_attr_celeba.txt"),
        ],
    )
    def test_a_file_changed_at_equal_size_gives_another(self, root, name, file):
        write_celeba(root, count=4)
        for folder in ("MNIST", "FashionMNIST"):
            write_idx(root, folder)
        before = {set_: data.fingerprint(set_) for set_ in DATASETS}
        self.change_in_place(root / file)
        changed = {set_ for set_ in DATASETS if data.fingerprint(set_) != before[set_]}
        assert changed == {name}
        self.change_in_place(root / file)  # back again
        assert data.fingerprint(name) == before[name]

    def test_it_depends_on_content_alone_and_on_which_files_there_are(self, root, monkeypatch):
        folder = write_celeba(root / "a", count=4)
        write_celeba(root / "b", count=4)
        monkeypatch.setenv("LRNB_DATA", str(root / "b"))
        elsewhere = data.fingerprint("celeba")
        monkeypatch.setenv("LRNB_DATA", str(root / "a"))
        assert data.fingerprint("celeba") == elsewhere
        (folder.parent / "list_eval_partition.txt").write_text("000001.jpg 2")  # other splits
        split = data.fingerprint("celeba")
        (folder / "000004.jpg").unlink()
        assert len({elsewhere, split, data.fingerprint("celeba")}) == 3

    def test_files_are_read_once(self, root, own_store, monkeypatch):
        folder = write_idx(root)
        first = data.fingerprint("mnist")
        monkeypatch.setattr("pathlib.Path.read_bytes", None)
        assert data.fingerprint("mnist") == first
        monkeypatch.undo()
        monkeypatch.setenv("LRNB_DATA", str(root))
        monkeypatch.setenv("LRNB_HOME", str(own_store))
        (own_store / "fingerprints.json").write_text("{half")  # damaged: made again
        assert data.fingerprint("mnist") == first
        assert folder.is_dir() and data.fingerprint("digits") == "embedded"


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("minst",), "name must be one of .*, got 'minst'; did you mean 'mnist'"),
            (("digits", "tset"), "split must be one of train, test, got 'tset'"),
            (("digits", "test", 0), "n must be an integer ≥ 1, got 0"),
            (("digits", "test", 2.5), "n must be an integer ≥ 1, got 2.5"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            load_data(*arguments)
        with pytest.raises(LookupError):
            DATASETS["minst"]

    @pytest.mark.parametrize("folder", [None, "MNIST/raw", "celeba/img_align_celeba"])
    @pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "celeba"])
    def test_missing_data_names_place_and_command(self, root, name, folder):
        if folder:
            (root / folder).mkdir(parents=True)
        assert not data.is_present(name) and data.is_present("digits")
        for call in (load_data, data.fingerprint):
            with pytest.raises(FileNotFoundError, match=f"{root}.*lrnb fetch {name}"):
                call(name)

    def test_a_missing_file_is_named(self, root):
        (write_idx(root) / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(FileNotFoundError, match="without t10k-labels-idx1-ubyte"):
            load_data("mnist")

    @pytest.mark.parametrize(
        ("file", "change", "message"),
        [
            (
                "t10k_labels_idx1",
                lambda b: b[:4] + bytes([0, 0, 0, 5]) + b[8:13],
                "12 images and 5",
            ),
            ("t10k_labels_idx1", lambda b: b"\x09" + b[1:], "magic number"),
            ("t10k_labels_idx1", lambda b: bytes([0, 0, 9, 1]) + b[4:], "magic number"),
            ("t10k_images_idx3", lambda b: bytes([0, 0, 8, 1]) + b[4:], "magic number"),
            ("t10k_images_idx3", lambda b: b[:-100], "length"),
            ("t10k_images_idx3", lambda b: b"", "length"),
        ],
    )
    def test_a_damaged_index_file(self, root, file, change, message):
        write_idx(root, **{file: change})
        assert len(load_data("mnist", "train")) == 12
        with pytest.raises(
            ValueError, match=rf"mnist must have.*{message}.*test split.*lrnb fetch"
        ):
            load_data("mnist", "test")


def test_a_byte_order_mark_drops_no_image(root):
    folder = write_celeba(root, count=6)
    lines = "\n".join(f"{n:06}.jpg {0 if n < 4 else 2}" for n in range(1, 7))
    (folder.parent / "list_eval_partition.txt").write_text(lines, encoding="utf-8-sig")
    assert len(load_data("celeba", "train")) == 3


@pytest.mark.parametrize("damage", ["blank", "missing", "comma", "columns", "short", "empty"])
def test_a_damaged_table_of_celeba_is_named_with_the_image(root, damage):
    table = write_celeba(root, count=20).parent / "list_attr_celeba.txt"
    lines = table.read_text().splitlines()
    if damage == "blank":  # does no harm
        table.write_text("\n".join([*lines[:4], "", *lines[4:]]))
        assert len(load_data("celeba", "train")) == 18
        return
    changed = {
        "missing": lines[:3] + lines[4:],
        "comma": [line.replace(" ", ",") if i == 3 else line for i, line in enumerate(lines)],
        "columns": [lines[0], lines[1].replace("Male", "Young"), *lines[2:]],
        "short": [line[:-3] if i == 3 else line for i, line in enumerate(lines)],
        "empty": [],
    }[damage]
    table.write_text("\n".join(changed))
    with pytest.raises(ValueError, match=r"list_attr_celeba.txt must have .*\.jpg"):
        load_data("celeba", "train")


def test_a_truncated_image_is_named(root):
    folder = write_celeba(root, count=20)
    file = sorted(folder.iterdir())[4]
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=file.name):
        load_data("celeba", "train")


def test_a_root_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LRNB_DATA", "~/sets")
    assert data.data_root() == tmp_path / "sets"
