"""Data sets: what a loader promises, on embedded data always and on real data where it is."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrnb import data
from lrnb.data import load_data


@pytest.mark.parametrize("name", data.DATASETS)
@pytest.mark.parametrize("split", data.SPLITS)
def test_images_are_float_in_unit_range_with_labels(name, split, real):
    images = load_data(real(name), split, n=50)
    side, channels = (64, 3) if name == "celeba" else (32, 1)
    assert images.images.shape == (50, channels, side, side)
    assert images.images.dtype == torch.float32
    assert 0 <= images.images.min() and 0.5 < images.images.max() <= 1
    assert images.labels.shape == (50,) and images.labels.dtype == torch.int64
    assert len(images.labels.unique()) > 1


@pytest.mark.parametrize("name", data.DATASETS)
def test_splits_share_no_image(name, real):
    train, test = (load_data(real(name), split, n=200).images.flatten(1) for split in data.SPLITS)
    assert torch.cdist(test, train).min() > 0


@pytest.mark.parametrize("name", data.DATASETS)
def test_first_n_are_the_same_whatever_n(name, real):
    few, more = load_data(real(name), "test", 10), load_data(name, "test", 30)
    assert torch.equal(few.images, more.images[:10])
    assert torch.equal(few.labels, more.labels[:10])


def test_mnist_is_the_published_set(real):
    train, test = load_data(real("mnist"), "train"), load_data("mnist", "test")
    assert (len(train), len(test)) == (60000, 10000)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    inner = train.images[:, :, 2:-2, 2:-2]
    assert inner.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert inner.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert train.images.count_nonzero() == inner.count_nonzero()  # the padding is black


def test_fashion_mnist_is_the_published_set(real):
    inner = load_data(real("fashion_mnist"), "train").images[:, :, 2:-2, 2:-2]
    assert inner.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert inner.std().item() == pytest.approx(0.3530, abs=1e-4)


def test_digits_keep_scikit_learns_brightness_and_classes():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert len(train) + len(test) == 1797
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == set(range(10))


class TestShapes:
    def test_all_factor_combinations_occur_once(self):
        factors = torch.cat([load_data("shapes", s).factors for s in data.SPLITS])
        assert len(factors) == len(factors.unique(dim=0)) == 3 * 6 * 8 * 16 * 16

    def test_shapes_lie_whole_inside_the_image(self):
        border = torch.ones(32, 32, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert load_data("shapes", "test").images[:, 0, border].max() == 0

    def test_position_moves_the_centre(self):
        def centre(x: float, y: float) -> tuple[float, float]:
            image = data.draw_shapes(torch.tensor([[0.0, 3, 0, x, y]]))[0, 0]
            grid = torch.arange(32) + 0.5
            return tuple(((image.sum(axis) * grid).sum() / image.sum()).item() for axis in (0, 1))

        assert centre(7.5, 7.5) == pytest.approx((16, 16), abs=0.01)
        assert centre(15, 7.5) == pytest.approx((24, 16), abs=0.01)
        assert centre(7.5, 0) == pytest.approx((16, 8), abs=0.01)

    def test_no_two_levels_of_a_factor_look_alike(self):
        middle = torch.tensor([1.0, 3, 3, 8, 8])
        for k, count in enumerate(data.SHAPE_FACTORS.values()):
            for shape in range(3):
                levels = middle.repeat(count, 1)
                levels[:, 0] = shape
                levels[:, k] = torch.arange(count)
                apart = torch.pdist(data.draw_shapes(levels).flatten(1))
                assert apart.min() > 0.3, (k, shape)


def _celeba_folder(root: Path, size: tuple[int, int], count: int = 20) -> None:
    folder = root / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    rows = []
    for i in range(1, count + 1):
        # left half black, right half white, a red stripe along the top
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[:, size[0] // 2 :] = 255
        pixels[: size[1] // 10] = (255, 0, 0)
        Image.fromarray(pixels).save(folder / f"{i:06d}.jpg", quality=95)
        rows.append(f"{i:06d}.jpg  {1 if i % 2 else -1} -1")
    table = folder.parent / "list_attr_celeba.txt"
    table.write_text(f"{count}\nMale Smiling\n" + "\n".join(rows) + "\n")


@pytest.mark.parametrize("size", [(178, 218), (89, 109)])
def test_celeba_crop_is_central_at_either_size(tmp_path, monkeypatch, size):
    _celeba_folder(tmp_path, size)
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    train, test = load_data("celeba", "train"), load_data("celeba", "test")
    assert (len(train), len(test)) == (18, 2)
    image = train.images[0]
    assert image.shape == (3, 64, 64)
    assert image[:, :, :28].max() < 0.1 and image[:, :, 36:].min() > 0.9  # stripe cropped away
    assert train.labels[:4].tolist() == [1, 0, 1, 0]
    assert train.factor_names == ("Male", "Smiling")


def test_celeba_uses_the_official_partition_where_it_is(tmp_path, monkeypatch):
    _celeba_folder(tmp_path, (89, 109), count=6)
    parts = "\n".join(f"{i:06d}.jpg {part}" for i, part in enumerate([0, 0, 0, 1, 2, 2], start=1))
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(parts + "\n")
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    assert (len(load_data("celeba", "train")), len(load_data("celeba", "test"))) == (3, 2)


class TestBadInput:
    def test_unknown_name_suggests_the_nearest(self):
        with pytest.raises(LookupError, match=r"name='minst'.*Did you mean 'mnist'"):
            load_data("minst")
        with pytest.raises(ValueError, match=r"split='tset'.*'test'"):
            load_data("digits", "tset")

    @pytest.mark.parametrize("n", [0, -1, 2.5])
    def test_n(self, n):
        with pytest.raises(ValueError, match=f"n={n}"):
            load_data("digits", n=n)

    @pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "celeba"])
    def test_missing_data_names_place_and_command(self, name, tmp_path, monkeypatch):
        monkeypatch.setenv("LRNB_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match=f"lrnb fetch {name}") as error:
            load_data(name)
        assert str(tmp_path) in str(error.value)
        assert not data.is_present(name)

    @pytest.mark.parametrize("folder", ["MNIST/raw", "celeba/img_align_celeba"])
    def test_empty_folder(self, folder, tmp_path, monkeypatch):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setenv("LRNB_DATA", str(tmp_path))
        name = "mnist" if "MNIST" in folder else "celeba"
        assert not data.is_present(name)
        with pytest.raises(FileNotFoundError, match=f"lrnb fetch {name}"):
            load_data(name)

    def test_incomplete_data(self, tmp_path, monkeypatch):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"half"))
        monkeypatch.setenv("LRNB_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="incomplete.*lrnb fetch mnist"):
            load_data("mnist")


def test_fingerprint_follows_the_files(tmp_path, monkeypatch):
    _celeba_folder(tmp_path, (89, 109), count=4)
    monkeypatch.setenv("LRNB_DATA", str(tmp_path))
    before = data.fingerprint("celeba")
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 2")
    assert data.fingerprint("celeba") != before  # other splits
    before = data.fingerprint("celeba")
    (tmp_path / "celeba" / "img_align_celeba" / "000004.jpg").unlink()
    assert data.fingerprint("celeba") != before
