"""Artefacts made side by side: each once, in the order of what they need, wherever they are made."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lrnb import _engine, _work, models
from lrnb import _store as store
from lrnb.models import PROFILES, Recipe, get_model
from lrnb.models.zoo import model_work
from lrnb.publish import contents, plan
from lrnb.studies import clean, latent_shift, tables, untargeted

TINY = replace(
    PROFILES["smoke"], name="tiny", n_train=48, n_test=16, width=4, epochs=1, n_attack=4,
    eps_count=2, steps=2, restarts=1,
)  # fmt: skip
ROOT = Path(__file__).parents[1]


def make(name, pid_file=None, seconds=0.0):
    """Store an artefact that says which process made it, slowly."""
    if pid_file and not Path(pid_file).exists():
        Path(pid_file).write_text(str(os.getpid()))
    time.sleep(seconds)
    store.save("tables", {"of": name}, {}, {"pid": os.getpid()}, {})


def work(name, *needs, **arguments):
    about = {"kind": "table", "what": "test", "dataset": "digits"}
    return _work.Work("tables", {"of": name}, about, partial(make, name, **arguments), 1, needs)


def pids():
    return {
        entry.spec["of"]: store.find("tables", entry.spec)[1]["pid"] for entry in store.entries()
    }


def test_what_is_missing_is_named_once_after_what_it_needs():
    a, b = work("a"), work("b")
    c, d = work("c", a, b), work("d", a)
    e = work("e", c)
    assert _work.missing([e, d, c]) == [[a, b], [c, d], [e]]
    make("c")
    assert _work.missing([e, d]) == [[e, a], [d]]  # what c was made from is not needed again
    assert _work.missing([c]) == []


def test_local_processes_share_the_work_and_one_that_dies_costs_what_it_made(tmp_path):
    victim = tmp_path / "pid"
    slow = [work(f"slow {n}", pid_file=str(victim), seconds=1.5) for n in range(2)]

    def kill():
        while not victim.exists() or not victim.read_text():
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(int(victim.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    _work.compute([work("last", *slow)], jobs=2, engine="local")
    killer.join()
    made = pids()
    assert made.keys() == {"slow 0", "slow 1", "last"}
    assert os.getpid() not in made.values() and int(victim.read_text()) not in made.values()


def exhaust():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_work_that_ends_every_process_is_named():
    fatal = work("fatal")._replace(make=exhaust)
    with pytest.raises(_engine.EngineFailed, match="made test on digits ended 3 times"):
        _work.compute([fatal, work("other")], engine="local", jobs=2)


def nothing():
    pass


def fail():
    raise ValueError("this one cannot be made")


def test_what_was_made_from_something_else_is_noticed():
    lost = [work(name)._replace(make=nothing) for name in "ab"]
    with pytest.raises(_engine.EngineFailed, match="made test on digits from something else"):
        _work.compute(lost, engine="local")


def test_a_worker_with_other_code_refuses(monkeypatch):
    monkeypatch.setattr(_engine, "SOURCE", "of this process")
    with pytest.raises(_engine.EngineFailed, match="loaded other code .* restart the workers"):
        _work.compute([work("a"), work("b")], engine="local")


def test_one_that_fails_stops_none_of_its_level():
    first = work("fails")._replace(make=fail)
    with pytest.raises(ValueError, match="this one cannot be made"):
        _work.compute(
            [first, *(work(n, seconds=0.5) for n in "abc"), work("d", first)], engine="local"
        )
    assert pids().keys() == {"a", "b", "c"}


@pytest.mark.parametrize("engine", ["slurm://x", "nothing", "http://x"])
def test_an_unknown_engine(engine, monkeypatch):
    with pytest.raises(ValueError, match=f"engine must be local, dask.*got '{engine}'"):
        _work.compute([work("a")], engine=engine)
    monkeypatch.setenv("LRNB_ENGINE", engine)
    with pytest.raises(ValueError, match="engine must be local"):
        _work.compute([work("a")])


@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named_with_its_remedy(engine, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(_engine.EngineFailed, match=rf"{package}: pip install 'lrnb\[{engine}\]'"):
        _work.compute([work("a")], engine=f"{engine}://x:1")


def test_a_scheduler_that_does_not_answer():
    pytest.importorskip("distributed")  # (which has the settings)
    dask = pytest.importorskip("dask")
    quickly = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with (
        quickly,
        pytest.raises(_engine.EngineFailed, match="no Dask scheduler with a worker answers"),
    ):
        _work.compute([work("a")], engine="dask://127.0.0.1:9")


def test_seconds_are_estimated_from_works_of_the_same_kind():
    small, large = (model_work(Recipe("digits"), replace(TINY, n_train=n)) for n in (48, 96))
    assert math.isnan(_work.rates()(small))
    get_model(Recipe("digits"), TINY)
    seconds = _work.rates()
    assert seconds(large) == pytest.approx(2 * seconds(small)) and seconds(small) > 0
    assert seconds(model_work(Recipe("shapes"), TINY)) == seconds(small)  # seen on another set
    assert math.isnan(seconds(model_work(Recipe("digits", "ae"), TINY)))


def test_a_plan_counts_each_artefact_once():
    chosen = {
        "first": clean.works(["digits"], [0], TINY),
        "second": latent_shift.works(["digits"], [0], TINY),
        "reads the others": [],
    }
    found = plan.table(chosen, ROOT / "nowhere")
    assert found.groupby("chapter")["artefacts"].sum().to_dict() == {"first": 12, "second": 8}
    with _engine.connected("local", 2) as workers:
        assert "20 of 20 artefacts are missing" in plan.in_words(found, workers)
    get_model(Recipe("digits"), TINY)
    vaes = plan.table(chosen, ROOT / "nowhere").query("what == 'vae'")
    assert vaes["missing"].sum() == 0
    _work.compute(chosen["second"])
    second = plan.table({"second": chosen["second"]}, ROOT / "nowhere")
    with _engine.connected("local", 2) as workers:
        assert plan.in_words(second, workers).startswith("0 of 9 artefacts are missing: ")


def test_every_chapter_that_computes_has_its_works():
    stems = [chapter.stem for chapter in contents.chapters(ROOT)]
    assert set(tables.chapters()) == set(stems) - {"09_ledger", "10_cost"}


CHOSEN = models.recipes(["digits"], ["vae", "dae_swt"], [0, 1])


def results():
    """Tables of a few models, as they would be saved."""
    found = [clean.table(CHOSEN, TINY), untargeted.table(CHOSEN, TINY)]
    found += [latent_shift.table(CHOSEN[:1], TINY), untargeted.damage_table(CHOSEN, TINY)]
    return [table.to_csv() for table in found]


def wanted():
    found = [*clean.CLEAN.works(CHOSEN, TINY), *latent_shift.SHIFT.works(CHOSEN[:1], TINY)]
    return [*found, *untargeted.damage_works(CHOSEN, TINY)]


@pytest.mark.slow
def test_dask_makes_the_same_tables_even_if_a_worker_is_killed(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    expected = results()
    monkeypatch.setenv("LRNB_HOME", str(tmp_path / "dask"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None
    ) as cluster:
        victims = [worker.pid for worker in cluster.workers.values()]
        killer = threading.Timer(4, lambda: os.kill(victims[0], signal.SIGKILL))
        killer.start()
        slow = [work(f"slow {n}", seconds=3) for n in range(4)]
        address = cluster.scheduler_address.removeprefix("tcp://")
        _work.compute([*slow, *wanted()], engine=f"dask://{address}")
    made = {entry.key for entry in store.entries()}
    assert results() == expected
    assert {entry.key for entry in store.entries()} == made  # nothing was left to make


@pytest.mark.thorough
def test_ray_makes_the_same_tables(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    expected = results()
    monkeypatch.setenv("LRNB_HOME", str(tmp_path / "ray"))
    _work.compute(wanted(), engine="ray://")
    made = {entry.key for entry in store.entries()}
    assert results() == expected and {entry.key for entry in store.entries()} == made


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_behind(tmp_path):
    begun = [tmp_path / name for name in "ab"]
    code = "import sys; sys.path.insert(0, 'tests'); import test_engine as t; "
    code += f"works = [t.work(f, pid_file=f, seconds=60) for f in {[str(f) for f in begun]}]; "
    code += "t._work.compute(works, engine='local', jobs=2)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 120
    while not all(file.exists() for file in begun):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    time.sleep(2)
    assert process.returncode != 0 and not of_session(process.pid)


def of_session(sid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == sid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
