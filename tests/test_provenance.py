"""What produced a result: the code's hash follows the code, not its comments."""

from lrnb import provenance


def test_comments_and_docstrings_do_not_change_the_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))

    def fingerprint(text: str) -> str:
        (tmp_path / "room.py").write_text(text)
        provenance.code_fingerprint.cache_clear()
        return provenance.code_fingerprint("room")

    plain = fingerprint("def f(x):\n    return x + 1\n")
    assert (
        fingerprint('"""A room."""\ndef f(x):\n    """Add."""\n    return x + 1  # one\n') == plain
    )
    assert fingerprint("def f(x):\n    return x + 2\n") != plain
    provenance.code_fingerprint.cache_clear()


def test_the_environment_names_versions_machine_and_time():
    facts = provenance.environment()
    assert facts["torch"].split(".")[0].isdigit() and facts["lrnb"] == "0.1.0"
    assert facts["device"] and facts["time"].endswith("+00:00")
    assert provenance.version("no-such-package") == "not installed"
