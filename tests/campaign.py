"""A campaign against the store, the data and the public functions: what breaks, and is it noticed?

    python tests/campaign.py --flips 1000 --swaps 20 --kills 50 --threads 8 --runs 20 --fuzz

prints for each kind how many attempts were made, how many did no harm, how many were detected, and
how many led to a wrong value or an error without a usable word ("lost"), which must be none.
"""

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import lrnb
from lrnb import _store as store
from lrnb import _work, data
from lrnb.models import PROFILES, Recipe, get_model, zoo
from lrnb.models.training import TrainingSettings, train
from lrnb.models.zoo import model_spec
from lrnb.studies import clean, latent_shift, untargeted

TINY = replace(
    PROFILES["smoke"], name="tiny", n_train=48, n_test=16, width=4, epochs=1, n_attack=4,
    eps_count=2, steps=2, restarts=1,
)  # fmt: skip
RECIPES = [Recipe("digits", family, seed=s) for family in ("vae", "dae_swt") for s in (0, 1)]


def weights(recipe):
    return torch.cat([p.flatten() for p in get_model(recipe, TINY).parameters()])


def wanted():
    """The works of a few models and tables."""
    tables = [*clean.CLEAN.works(RECIPES, TINY), *untargeted.works(RECIPES[:2], TINY)]
    return [*tables, *latent_shift.SHIFT.works(RECIPES[:1], TINY)]


def filled():
    """What a few models and tables are, once they are stored."""
    _work.compute(wanted(), jobs=1)
    return [(e.kind, e.spec) for e in store.entries()]


def same(found, known):
    """Whether an artefact is what it was, bit by bit (a NaN equals itself), but for its time."""

    def bits(tensors, record):
        held = {name: (t.dtype, t.shape, t.numpy().tobytes()) for name, t in tensors.items()}
        return held, re.sub(r'"seconds": [\d.e-]+', "", json.dumps(record, sort_keys=True))

    return bits(*found[:2]) == bits(*known[:2])


def flipped(file, rng):
    """Flip one random bit of a file in place; return what it held."""
    before = file.read_bytes()
    content = bytearray(before)
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return before


def flips(number, rng):
    """One flipped bit in an artefact, a checkpoint or a data file."""
    counts, held = Counter(), filled()
    known = {store.key(spec): store.find(kind, spec) for kind, spec in held}
    images = data.load_data("digits", "train", 32).images
    checkpoint = store.cache_root() / "checkpoint"
    model = zoo.new_model(RECIPES[0], TINY)
    train(model, images, TrainingSettings("vae", epochs=1), checkpoint=checkpoint)
    root = data.data_root() / "MNIST" / "raw"
    root.mkdir(parents=True)
    for split, n in (("train", 8), ("t10k", 4)):
        for kind, magic, shape in (
            ("images-idx3", 0x803, (n, 28, 28)),
            ("labels-idx1", 0x801, (n,)),
        ):
            sizes = b"".join(size.to_bytes(4, "big") for size in shape)
            body = np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8).tobytes()
            (root / f"{split}-{kind}-ubyte").write_bytes(magic.to_bytes(4, "big") + sizes + body)
    address = data.fingerprint("mnist")
    for _ in range(number):
        where = rng.choice(["artefact", "artefact", "checkpoint", "data"])
        if where == "artefact":
            kind, spec = rng.choice(held)
            file = rng.choice(sorted((store.store_root() / kind / store.key(spec)).iterdir()))
            before = flipped(file, rng)
            found = store.find(kind, spec)
            harmless = found is not None and same(found, known[store.key(spec)])
            counts["detected" if found is None else "survived" if harmless else "lost"] += 1
        elif where == "checkpoint":
            before, file = flipped(checkpoint, rng), checkpoint
            counts["lost" if store.read_checked(checkpoint) else "detected"] += 1
        else:
            file = rng.choice(sorted(root.iterdir()))
            before = flipped(file, rng)
            counts["lost" if data.fingerprint("mnist") == address else "detected"] += 1
        file.write_bytes(before)
    return counts


def swaps(number, rng):
    """Two artefacts in each other's place."""
    counts, held = Counter(), filled()
    for _ in range(number):
        kind = rng.choice(["models", "tables"])
        first, second = rng.sample([spec for k, spec in held if k == kind], 2)
        a, b = (store.store_root() / kind / store.key(spec) for spec in (first, second))
        aside = a.with_name("aside")
        for _ in range(2):  # swapped, and swapped back
            a.rename(aside), b.rename(a), aside.rename(b)
            if store.find(kind, first) is None and store.find(kind, second) is None:
                counts["detected"] += 1
        if store.find(kind, first) is None:
            counts["lost"] += 1
    return counts


def kills(number, rng):
    """A run or one of its processes killed at a random moment; then the same as without."""
    held = filled()
    known = {store.key(spec): store.find(kind, spec) for kind, spec in held}
    code = "import sys; sys.path.insert(0, 'tests'); import campaign as c; "
    code += "print(flush=True); c._work.compute(c.wanted(), engine='local', jobs=2)"
    counts = Counter()
    for _ in range(number):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            environment = os.environ | {"LRNB_HOME": home}
            process = subprocess.Popen(
                [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
            )
            process.stdout.readline()  # (imported)
            time.sleep(rng.uniform(0, 10))
            tasks = Path(f"/proc/{process.pid}/task").glob("*/children")  # (of each thread)
            below = [pid for task in tasks for pid in task.read_text().split()]
            victim = rng.choice([process.pid, *map(int, below)])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            ended = process.wait()
            before, os.environ["LRNB_HOME"] = os.environ["LRNB_HOME"], home
            _work.compute(wanted(), jobs=1)
            found = {store.key(spec): store.find(kind, spec) for kind, spec in held}
            complete = len(store.entries()) == len(held)
            os.environ["LRNB_HOME"] = before
        good = complete and all(same(found[key], known[key]) for key in known)
        good &= ended == 0 or victim == process.pid
        counts["survived" if good else "lost"] += 1
    return counts


def threads(number, rng):
    """So many threads that each make so many models."""
    chosen = [Recipe("digits", "vae", seed=s) for s in range(number)]
    expected = [weights(recipe) for recipe in chosen]
    for recipe in chosen:
        store.remove(store.key(model_spec(recipe, TINY)))
    counts = Counter()
    with ThreadPoolExecutor(number) as pool:
        for found in pool.map(lambda _: [weights(r) for r in chosen], range(number)):
            equal = [torch.equal(a, b) for a, b in zip(found, expected, strict=True)]
            counts["survived"] += sum(equal)
            counts["lost"] += len(equal) - sum(equal)
    return counts


def runs(number, rng):
    """Two runs and two builds of a small book at once, in one folder."""
    import nbformat

    counts = Counter()
    command = "from lrnb.cli import main; main()"
    for _ in range(number):
        with tempfile.TemporaryDirectory() as book:
            folder = Path(book, "notebooks")
            folder.mkdir()
            title = nbformat.v4.new_markdown_cell("# A chapter")
            cell = nbformat.v4.new_code_cell("profile = 1", metadata={"tags": ["parameters"]})
            about = {"language_info": {"name": "python"}}
            notebook = nbformat.v4.new_notebook(cells=[title, cell], metadata=about)
            nbformat.write(notebook, folder / "01_a.ipynb")
            Path(book, "_toc.yml").write_text("format: jb-book\nroot: notebooks/01_a\n")
            Path(book, "_config.yml").write_text(
                "title: A book\nexecute:\n  execute_notebooks: 'off'\n"
            )
            all_of_them = [
                subprocess.Popen(
                    [sys.executable, "-c", command, what, "--profile", "smoke"],
                    cwd=book, stdout=subprocess.DEVNULL,
                )
                for what in ("run", "build", "run", "build")
            ]  # fmt: skip
            good = [process.wait() == 0 for process in all_of_them]
        counts["survived" if all(good) else "lost"] += 1
    return counts


BAD = (
    None, "x", "", b"x", -1, 0, 1.5, math.nan, math.inf, True, [], {}, (), object(), 2**70,
    torch.empty(0), torch.full((2, 3), math.nan), torch.zeros(2, 3, dtype=torch.long),
    torch.zeros(()), lambda *_: None, [None], ["x"],
)  # fmt: skip


def targets():
    """Public functions with arguments that they accept."""
    image, z = torch.rand(3, 1, 32, 32), torch.zeros(2, 3)
    v, c = np.arange(60).reshape(30, 2) % 3, np.random.default_rng(0).normal(size=(30, 3))
    x, scores = torch.tensor([0.5, 1.0]), lrnb.metrics.disentanglement
    return {
        "attack": (lrnb.attack, {
            "decode": lambda z: 2 * z, "codes": z, "eps": 1.0, "norm": "l2", "steps": 2,
            "method": "pgd", "restarts": 1, "seed": 0, "batch": 2, "target": z, "objective": None,
        }),
        "minimum_norm": (lrnb.minimum_norm, {
            "decode": lambda z: 2 * z, "codes": z, "goal": 1.0, "largest": 2.0, "steps": 2,
            "rounds": 1, "restarts": 1, "seed": 0,
        }),
        "largest_singular": (lrnb.attacks.largest_singular, {
            "decode": lambda z: 2 * z, "codes": z, "iterations": 2, "seed": 0, "batch": 2,
        }),
        "load_data": (lrnb.load_data, {"name": "digits", "split": "test", "n": 2}),
        "Recipe": (lrnb.Recipe, {
            "dataset": "digits", "family": "vae", "beta": 1.0, "seed": 0, "adv_eps": 0.5,
            "adv_form": "trades", "adv_weight": 1.0, "latent": 3,
        }),
        "get_model": (lrnb.get_model, {"recipe": RECIPES[0], "profile": TINY}),
        "ssim": (lrnb.metrics.ssim, {"a": image, "b": image}),
        "mse": (lrnb.metrics.mse, {"a": image, "b": image}),
        "aaddc": (lrnb.metrics.aaddc, {"eps": x, "damage": x}),
        "auddc": (lrnb.metrics.auddc, {"distortion": x, "distance": x}),
        **{name: (getattr(scores, name), {"factors": v, "codes": c}) for name in
           ("mig", "sap", "dci", "factor_vae", "modularity")},
    }  # fmt: skip


def fuzz(number, rng):
    """Each argument of the public functions replaced by what it cannot be."""
    counts = Counter()
    typed = (ValueError, LookupError, OSError, FloatingPointError)
    for name, (function, arguments) in targets().items():
        for argument in arguments:
            for bad in BAD:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        function(**arguments | {argument: bad})
                        counts["survived"] += 1
                    except typed:
                        counts["detected"] += 1
                    except Exception as error:
                        counts["lost"] += 1
                        print(f"  {name}({argument}={bad!r}): {type(error).__name__}: {error}")
    return counts


def campaign(**chosen):
    """Run parts of the campaign, each so often; return what came of each."""
    found = {}
    for part, number in chosen.items():
        rng, home = random.Random(0), tempfile.mkdtemp()
        os.environ["LRNB_HOME"], os.environ["LRNB_DATA"] = home, str(Path(home, "data"))
        try:
            found[part] = globals()[part](number, rng)
        finally:
            shutil.rmtree(home)
        told = ", ".join(f"{found[part][x]} {x}" for x in ("survived", "detected", "lost"))
        print(f"{part}: {found[part].total()} tried, {told}", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for part in ("flips", "swaps", "kills", "threads", "runs"):
        parser.add_argument(f"--{part}", type=int, default=0)
    parser.add_argument("--fuzz", action="store_true")
    given = {part: int(number) for part, number in vars(parser.parse_args()).items() if number}
    sys.exit(any(counts["lost"] for counts in campaign(**given).values()))
