"""A verdict is which side of the tolerance a figure lies on; pages are written from records alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aigc_jax.errors import RunError, UserError
from aigc_jax.experiment import Entry
from aigc_jax.training.records import (
    Verdict,
    benchmarks_page,
    parity_file,
    read_records,
    results_page,
    verdict,
    write_record,
)

RESULT = {
    "experiment": "thing", "preset": "laptop", "knobs": {"lr": 0.1}, "steps": 10, "seconds": 12.3, "device": "1 x cpu",
    "commit": "abc", "versions": {"jax": "0"}, "protocol": {}, "metrics": {"eval/nll": 1.25, "eval/acc": 0.5},
    "expected": {"metric": "eval/nll", "value": 1.0, "tolerance": 0.25, "direction": "min"},
}  # fmt: skip
ENTRY = Entry("thing", "energy", Path("thing.py"), "A thing.", ["rbm", "dbn"], "", {"paper": {}}, {})


@pytest.mark.parametrize(
    "value, direction, reached",
    [(0.75, "max", True), (0.74, "max", False), (9.0, "max", True), (1.25, "min", True), (1.26, "min", False),
     (-9.0, "min", True), (float("nan"), "min", False), (float("nan"), "max", False)],
)  # fmt: skip
def test_reached_is_within_the_tolerance_or_on_the_good_side(value, direction, reached):
    assert Verdict("m", value, 1.0, 0.25, direction).reached is reached


def test_verdict_reads_a_result():
    found = verdict(RESULT)
    assert found == Verdict("eval/nll", 1.25, 1.0, 0.25, "min") and found.reached
    assert str(found) == "eval/nll = 1.25, expected 1 + 0.25: reached"
    assert verdict({**RESULT, "expected": None}) is None
    lost = verdict({**RESULT, "metrics": {"eval/nll": None}})
    assert lost is not None and not lost.reached


@pytest.mark.parametrize(
    "change, words",
    [({"metric": "eval/none"}, "no metric 'eval/none': there are eval/acc, eval/nll"), ({"direction": "up"}, "'up'")],
)
def test_an_expected_figure_that_cannot_be_judged_fails_the_run(change, words):
    with pytest.raises(RunError, match=words):
        verdict({**RESULT, "expected": {**RESULT["expected"], **change}})


def test_a_record_holds_what_is_needed_to_repeat_it(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    found, path = write_record(tmp_path, tmp_path / "results", {"lr": 0.1, "data": "files:/home/me/mnist"})
    record = read_records(tmp_path / "results")["thing-laptop"]
    assert found.reached and path.name == "thing-laptop.json"
    for name in ("experiment", "preset", "seconds", "device", "commit", "versions", "protocol", "metrics", "knobs"):
        assert record[name] == RESULT[name]
    assert record["changed"] == {"lr": 0.1, "data": "files:mnist"}
    assert record["cores"] and (record["value"], record["expected"], record["tolerance"]) == (1.25, 1.0, 0.25)


def test_a_run_without_expectation_or_result_has_no_record(tmp_path):
    with pytest.raises(UserError, match="result.json is missing"):
        write_record(tmp_path, tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "expected": None}))
    with pytest.raises(UserError, match="preset laptop of thing has no EXPECTED"):
        write_record(tmp_path, tmp_path)


def test_results_page_has_a_row_for_each_record_and_for_what_has_none(tmp_path):
    for name in ("thing", "rbm_small", "other"):
        (tmp_path / f"{name}.npz").touch()
    other = ENTRY._replace(name="unmeasured", systems=[])
    records = [
        {**RESULT, **verdict(RESULT)._asdict(), "preset": preset, "device": "a|b", "changed": {"lr": 0.1}}
        for preset in ("laptop", "xl")
    ]
    text = results_page([ENTRY, other], records, {"thing": 1234567}, tmp_path)
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["| thing", "| thing", "| unmeasured"]
    assert rows[0][1:10] == [
        "rbm, dbn", "1,234,567", "rbm_small.npz, thing.npz", "laptop with lr=0.1", "eval/nll", "1 + 0.25", "1.25", "yes", "12",
    ]  # fmt: skip
    assert "a\\|b" in text
    assert text == results_page([ENTRY, other], records, {"thing": 1234567}, tmp_path)


def test_parity_is_that_of_the_networks_of_the_file_too(tmp_path):
    for name in ("thing", "unet", "resnet", "preactivation", "mlp"):
        (tmp_path / f"{name}.npz").touch()
    file = tmp_path / "thing.py"
    file.write_text("from aigc_jax.networks.unet import UNet\nfrom aigc_jax.networks import preactivation, resnet\n")
    found = parity_file(ENTRY._replace(path=file), tmp_path)
    assert found == "preactivation.npz, resnet.npz, thing.npz, unet.npz"


def test_benchmarks_page_shows_cases_as_a_table_and_leaves_lists_in_the_file():
    cases = [{"case": "gpt", "ratio": 1.23456789, "all_ms": [1, 2]}, {"case": "unet", "extra": "a|b"}]
    records = {
        "speed": {"device": "cpu", "versions": {"jax": "1", "x": "2"}, "cases": cases},
        "b": {"benchmark": "bare"},
    }
    text = benchmarks_page(records)
    assert "## speed" in text and "## bare" in text and "all_ms" not in text
    assert "| versions | jax 1, x 2 |" in text
    assert "| case | ratio | extra |" in text and "| gpt | 1.23457 |  |" in text and "| unet |  | a\\|b |" in text
