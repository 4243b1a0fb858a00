"""The store: what goes in comes out, complete or not at all."""

import json
import multiprocessing
import os
import time
from concurrent import futures

import pytest
import torch

from lrnb import _store as store

SPEC = {"a": 1, "b": [1, 2]}
TENSORS = {"weight": torch.arange(6.0).view(2, 3)}


def test_round_trip():
    assert store.find("models", SPEC) is None and not store.holds("models", SPEC)
    store.save("models", SPEC, TENSORS, {"note": "x"}, {})
    tensors, record, _ = store.find("models", SPEC)
    assert torch.equal(tensors["weight"], TENSORS["weight"]) and record == {"note": "x"}
    assert store.holds("models", SPEC)
    assert store.find("models", {**SPEC, "a": 2}) is None


def test_an_artefact_may_have_no_tensors():
    record = {"rows": [{"a": 1.5, "b": float("inf"), "c": None}]}
    store.save("tables", SPEC, {}, record, {})
    assert store.find("tables", SPEC)[:2] == ({}, record)


def test_save_replaces():
    for note in ("old", "new"):
        store.save("models", SPEC, TENSORS, {"note": note}, {})
    assert store.find("models", SPEC)[1] == {"note": "new"}
    assert len(store.entries()) == 1


def test_a_tensor_of_any_memory_format_comes_back():
    image = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    store.save("models", SPEC, {"image": image}, {}, {})
    assert torch.equal(store.find("models", SPEC)[0]["image"], image)


@pytest.mark.parametrize("damage", ["cut", "flipped", "header", "record", "value", "gone"])
def test_damage_is_noticed(damage, caplog):
    store.save("models", SPEC, TENSORS, {"loss": 0.5}, {})
    place = store.store_root() / "models" / store.key(SPEC)
    (weights,) = place.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(content[:-4])
    elif damage == "flipped":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "header":
        weights.write_bytes(b"\xff" * 40)
    elif damage == "value":
        text = (place / "record.json").read_text()
        (place / "record.json").write_text(text.replace("0.5", "0.9"))
    elif damage == "record":
        (place / "record.json").write_text("{")
    else:
        weights.unlink()
    assert store.find("models", SPEC) is None and "damaged" in caplog.text
    assert [gone.key for gone in store.remove(place.name)] == [place.name]


def test_a_failed_save_leaves_nothing(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save("models", SPEC, TENSORS, {}, {})
    assert store.entries() == [] and store.find("models", SPEC) is None


def test_entries_and_remove():
    for i in range(3):
        store.save("models", {"i": i}, TENSORS, {}, {})
    held = store.entries()
    assert len(held) == 3 and all(entry.size > 24 for entry in held)
    gone = store.remove(held[0].key)
    assert [g.key for g in gone] == [held[0].key] and len(store.entries()) == 2
    with pytest.raises(LookupError, match="prefix"):
        store.remove(held[0].key)
    assert len(store.remove("")) == 2 and store.entries() == []


def test_unfinished_work_is_listed_and_removed():
    (store.partial(SPEC) / "checkpoint").write_text("half")
    (entry,) = store.entries()
    assert entry.kind == "partial" and entry.spec == SPEC
    store.discard_partial(SPEC)
    assert store.entries() == []


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


def test_what_is_absent_is_made_once_and_its_cost_is_kept():
    made = []

    def make():
        made.append(1)
        held = bytearray(60_000_000)
        time.sleep(0.05)
        return TENSORS, {"note": len(held)}

    about = {"kind": "model", "what": "vae", "dataset": "digits"}
    first = store.get("models", SPEC, make, about)
    again = store.get("models", SPEC, make, about)
    assert len(made) == 1 and torch.equal(again[0]["weight"], first[0]["weight"])
    use = store.used()[store.key(SPEC)]
    assert use.items() >= about.items() and 0.05 <= use["seconds"] < 5
    assert use["peak_mb"] is None or use["peak_mb"] > 60


def test_what_was_made_from_others_keeps_what_they_cost():
    inner, outer = {"inner": 1}, {"outer": 1}

    def make():
        store.get("models", inner, lambda: (time.sleep(0.3), (TENSORS, {}))[1], {"what": "vae"})
        return {}, {"rows": []}

    store.get("tables", outer, make, {"what": "clean"})
    store.remove(store.key(inner))
    content = (store.store_root() / "tables" / store.key(outer) / "record.json").read_text()
    uses = json.loads(content)["uses"]
    assert {use["what"] for use in uses.values()} == {"vae", "clean"}
    # what was made inside it is not counted twice
    assert uses[store.key(inner)]["seconds"] >= 0.3 > uses[store.key(outer)]["seconds"] >= 0


def test_what_fails_to_be_made_leaves_nothing():
    def make():
        raise FloatingPointError("no")

    with pytest.raises(FloatingPointError):
        store.get("models", SPEC, make)
    assert not store.holds("models", SPEC)
    assert store.get("models", SPEC, lambda: (TENSORS, {}))[1] == {}


def test_an_artefact_in_anothers_place_is_noticed(caplog):
    other = {**SPEC, "a": 2}
    store.save("models", SPEC, TENSORS, {"note": "x"}, {})
    place = store.store_root() / "models"
    (place / store.key(SPEC)).rename(place / store.key(other))
    assert store.find("models", other) is None and "belongs elsewhere" in caplog.text


@pytest.mark.parametrize("part", ["spec", "uses", "record"])
def test_a_changed_value_anywhere_in_the_record_is_noticed(part):
    store.save("models", SPEC, {}, {"a": 1}, {"key": {"a": 1, "seconds": 1.0}})
    file = store.store_root() / "models" / store.key(SPEC) / "record.json"
    content = json.loads(file.read_text())
    for damaged in (None, [], "text", {"a": 3}):
        file.write_text(json.dumps({**content, part: damaged}))
        assert store.find("models", SPEC) is None
        assert len(store.entries()) == 1  # listing stands it


def _write_and_read(number):
    for note in range(number, 200, 4):
        store.save("models", SPEC, {"a": torch.full((1000,), float(note))}, {"note": note}, {})
        found = store.find("models", SPEC)
        assert found is not None and float(found[0]["a"][0]) == found[1]["note"]
    return number


@pytest.mark.parametrize("pool", [futures.ThreadPoolExecutor, futures.ProcessPoolExecutor])
def test_readers_and_writers_at_once_never_see_half_of_each(pool):
    with pool(4) as workers:
        assert list(workers.map(_write_and_read, range(4))) == [0, 1, 2, 3]


def test_what_is_stored_can_be_read_where_nothing_can_be_written(monkeypatch):
    store.save("models", SPEC, TENSORS, {}, {})
    root = store.store_root()
    mode = (root / "models" / store.key(SPEC) / "record.json").stat().st_mode
    assert mode & 0o777 == 0o666 & ~umask()
    monkeypatch.setattr(store, "lock", None)  # (root may write anywhere, so modes show nothing)
    assert torch.equal(store.get("models", SPEC, None)[0]["weight"], TENSORS["weight"])


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_home_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LRNB_HOME", "~/here")
    assert store.cache_root() == tmp_path / "here"


def test_what_a_killed_writer_left_goes_with_the_next():
    store.save("models", SPEC, TENSORS, {}, {})
    place = store.store_root() / "models" / store.key(SPEC)
    (place / ".record.json.1.1").write_text("half")
    (place / "old.safetensors").write_text("half")
    store.save("models", SPEC, TENSORS, {}, {})
    assert len(list(place.iterdir())) == 2
