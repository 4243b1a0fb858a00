"""The store: what goes in comes out, whole or not at all."""

import multiprocessing
import time

import pytest
import torch

from lrnb import store

SPEC = {"a": 1, "b": [1, 2]}
TENSORS = {"weight": torch.arange(6.0).view(2, 3)}


def test_round_trip():
    assert store.load("models", SPEC) is None and store.load_record("models", SPEC) is None
    store.save("models", SPEC, TENSORS, {"note": "x"})
    tensors, record = store.load("models", SPEC)
    assert torch.equal(tensors["weight"], TENSORS["weight"]) and record == {"note": "x"}
    assert store.load_record("models", SPEC) == {"note": "x"}
    assert store.load("models", {**SPEC, "a": 2}) is None


def test_save_replaces():
    for note in ("old", "new"):
        store.save("models", SPEC, TENSORS, {"note": note})
    assert store.load("models", SPEC)[1] == {"note": "new"}
    assert len(store.entries()) == 1


def test_a_tensor_of_any_memory_format_comes_back():
    image = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    store.save("models", SPEC, {"image": image}, {})
    assert torch.equal(store.load("models", SPEC)[0]["image"], image)


@pytest.mark.parametrize("damage", ["cut", "flipped", "record", "gone"])
def test_damage_is_noticed(damage):
    place = store.save("models", SPEC, TENSORS, {})
    weights = place / "tensors.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(content[:-4])
    elif damage == "flipped":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "record":
        (place / "record.json").write_text("{")
    else:
        weights.unlink()
    with pytest.raises(store.CorruptArtefact, match="lrnb models remove"):
        store.load("models", SPEC)


def test_a_failed_save_leaves_nothing(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(store, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save("models", SPEC, TENSORS, {})
    assert store.entries() == []
    assert list((store.store_root() / "models").iterdir()) == []


def test_entries_and_remove():
    for i in range(3):
        store.save("models", {"i": i}, TENSORS, {})
    held = store.entries()
    assert len(held) == 3 and all(entry.size > 24 for entry in held)
    gone = store.remove(held[0].key)
    assert [g.key for g in gone] == [held[0].key] and len(store.entries()) == 2
    with pytest.raises(LookupError, match="prefix"):
        store.remove(held[0].key)
    with pytest.raises(LookupError, match="prefix"):
        store.remove("")


def _hold(ready, spec):
    with store.lock(spec):
        ready.set()
        time.sleep(0.5)


def test_lock_keeps_another_process_out():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_hold, args=(ready, SPEC))
    other.start()
    assert ready.wait(10)
    start = time.monotonic()
    with store.lock(SPEC):
        assert time.monotonic() - start > 0.2
    other.join()
