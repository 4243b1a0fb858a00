"""Every test has a store of its own; real data are used where LRNB_DATA has them."""

import os
import shutil
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is asserted bit for bit is asserted of a CPU

from lrnb import data


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LRNB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LRNB_PROGRESS", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the book is made of."""
    from lrnb.publish.run import STAGED

    source, root = Path(__file__).parents[1], tmp_path_factory.mktemp("copied")
    for name in STAGED:
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy2
        copy(source / name, root / name)
    return root


@pytest.fixture
def real() -> object:
    def need(name: str) -> str:
        if not data.is_present(name):
            pytest.skip(
                f"{name} is not in {data.data_root()}: set LRNB_DATA or `lrnb fetch {name}`"
            )
        return name

    return need
