"""A small campaign: damage, swaps, kills, threads and senseless arguments; nothing may be lost."""

import campaign
import pytest


@pytest.mark.slow
def test_nothing_is_lost(monkeypatch):
    for name in ("LRNB_HOME", "LRNB_DATA"):  # (restored afterwards)
        monkeypatch.setenv(name, "")
    found = campaign.campaign(flips=100, swaps=10, kills=2, threads=4, runs=1, fuzz=1)
    assert not any(counts["lost"] for counts in found.values()), found
    assert found["flips"]["detected"] > 90 and found["swaps"]["detected"] == 10
