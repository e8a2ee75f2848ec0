"""The doctor's window of versions, and what it says of what lies outside."""

from __future__ import annotations

import json
from pathlib import Path

from aigc_jax.cli import doctor, main

ROOT = Path(__file__).parents[2]


def test_the_lowest_versions_are_those_of_requirements_txt():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = dict(line.split(">=") for line in lines if ">=" in line)
    for name, lowest in doctor.LOWEST.items():
        assert lowest == required["jax" if name == "jaxlib" else name], name


def test_what_is_out_of_the_window_is_named(capsys, monkeypatch):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == [] and len(found["devices"]) == 8
    monkeypatch.setitem(doctor.LOWEST, "jax", "99.1")
    monkeypatch.setitem(doctor.USED_FOR, "no-such-package", ("no_such_package", "nothing at all"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "needed is 99.1 or later" in out and "no-such-package: nothing at all" in out
