"""What produced a result: the code's hash follows the code that decides it, and nothing else."""

import importlib
import sys

import pytest

from lrnb import _provenance as provenance
from lrnb._validation import Registry

MODULE = """
from lrnb._validation import Registry
from lrnb import toy_helper

FACTOR = 2
ENTRIES = Registry("entry")


class Step:
    def move(self, x):
        return x + FACTOR


def compute(x):
    def inner(y):
        return toy_helper.double(y)
    return Step().move(inner(x))


def unrelated(x):
    return x
"""
HELPER = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    import lrnb

    monkeypatch.setattr(lrnb, "__path__", [*lrnb.__path__, str(tmp_path)])

    def hash_of(module=MODULE, helper=HELPER):
        import linecache

        linecache.clearcache()
        for name, text in (("toy_helper", helper), ("toy", module)):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(f"lrnb.{name}", None)
            lrnb.__dict__.pop(name, None)
        importlib.invalidate_caches()
        toy = importlib.import_module("lrnb.toy")
        return provenance.code_hash(toy.compute)

    yield hash_of
    for name in ("toy_helper", "toy"):
        sys.modules.pop(f"lrnb.{name}", None)
        lrnb.__dict__.pop(name, None)


SAME = {
    "comment": (MODULE.replace("return x + FACTOR", "return x + FACTOR  # add"), HELPER),
    "docstring": (MODULE.replace("def compute(x):", 'def compute(x):\n    """Compute."""'), HELPER),
    "layout": (
        MODULE.replace("toy_helper.double(y)", "toy_helper.double(\n            y\n        )"),
        HELPER,
    ),
    "unrelated": (MODULE.replace("    return x\n", "    return 7 * x\n"), HELPER),
    "registry": (MODULE + '\nENTRIES.add("new", unrelated)\n', HELPER),
}
OTHER = {
    "constant": (MODULE.replace("FACTOR = 2", "FACTOR = 3"), HELPER),
    "method": (MODULE.replace("x + FACTOR", "x - FACTOR"), HELPER),
    "nested": (MODULE.replace("double(y)", "double(y + 1)"), HELPER),
    "helper": (MODULE, HELPER.replace("2 * x", "3 * x")),
}


@pytest.mark.parametrize("change", SAME)
def test_what_decides_nothing_does_not_count(hash_of, change):
    assert hash_of(*SAME[change]) == hash_of()


@pytest.mark.parametrize("change", OTHER)
def test_what_decides_a_number_counts(hash_of, change):
    assert hash_of(*OTHER[change]) != hash_of()


def test_registry_entries_count_when_given():
    from lrnb.models import FAMILIES

    hashes = {provenance.code_hash(family) for family in FAMILIES.values()}
    assert len(hashes) == len(FAMILIES) and isinstance(FAMILIES, Registry)


def test_the_environment_names_versions_machine_and_time():
    facts = provenance.environment()
    assert facts["torch"].split(".")[0].isdigit() and facts["lrnb"] == "0.2.0"
    assert facts["device"] and facts["time"].endswith("+00:00")
    assert provenance.version("no-such-package") == "not installed"
