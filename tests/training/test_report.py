"""A report holds all it shows, shows text as text, and can be written from the files of a folder alone."""

from __future__ import annotations

import base64
import io
import json
import re
import types
import wave

import numpy as np
import pytest
from PIL import Image

from aigc_jax.errors import UserError
from aigc_jax.training import curves, page, report
from aigc_jax.training.panels import latent_map, samples, to_png
from aigc_jax.training.samples import save_samples

EVIL = "<script>alert('x')</script> & \"quotes\""


@pytest.fixture
def folder(tmp_path):
    """A finished run folder with text that must not become markup."""
    config = {
        "experiment": "thing",
        "preset": EVIL,
        "knobs": {"text": EVIL, "lr": 0.1},
        "commit": "abc",
        "versions": {},
    }
    expected = {"metric": "eval/loss", "value": 0.5, "tolerance": 0.1, "direction": "min"}
    metrics = {"eval/loss": 0.4, EVIL: 1.0}
    result = {**config, "metrics": metrics, "expected": expected, "seconds": 3720.0, "device": "cpu",
              "protocol": {"probe": EVIL}}  # fmt: skip
    rows = [{"step": i, "loss": 1 / i, "grad_norm": float(i)} for i in range(1, 101)]
    rows[49]["eval/loss"], rows[99]["eval/loss"], rows[70]["loss"] = 0.6, 0.4, float("nan")
    timing = [{"step": i, "seconds": i * 1.0, "steps_per_second": 2.0, "waiting_for_data": 0.1} for i in range(1, 101)]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timing))
    for step in range(10, 160, 10):
        save_samples(tmp_path / "samples" / f"step_{step:08d}", np.full((4, 8, 8, 1), step, np.uint8))
    save_samples(tmp_path / "samples" / "step_00000005", [EVIL, "second"])
    save_samples(tmp_path / "samples" / "step_00000210", (100, np.zeros((2, 50), np.float32)))
    return tmp_path


def stub_run(folder, panels=None, data=None) -> types.SimpleNamespace:
    experiment = types.SimpleNamespace(panels=panels or {})
    rng = np.random.default_rng(0)
    return types.SimpleNamespace(
        workdir=folder, experiment=experiment, data=data,
        condition=lambda n: {"label": np.arange(n) % 3}, sample=lambda batch: np.zeros((len(batch["label"]), 8, 8, 1)),
        encode=lambda batch: rng.normal(size=(len(batch["label"]), 5)),
    )  # fmt: skip


def held(html: str, kind: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(rf"data:{re.escape(kind)};base64,([^\"]*)\"", html)]


def test_the_page_is_self_contained_and_shows_text_as_text(folder):
    html = report.write_page(folder).read_text(encoding="utf-8")
    outside = re.sub(r"base64,[^\"]*", "", html)
    assert not re.search(r"<script|<link|https?:|@import|url\(", outside)
    assert outside.count("&lt;script&gt;") >= 5 and "alert('x')" not in outside
    sources = re.findall(r'src="([^"]*)"', html)
    assert sources and all(source.startswith("data:") for source in sources)


def test_the_page_holds_result_curves_samples_and_sound(folder):
    html = report.write_page(folder).read_text(encoding="utf-8")
    assert "0.4 reached" in html and "expected 0.5 + 0.1" in html and "1 h 2 min" in html
    assert len(held(html, "image/svg+xml")) == 2 + 2  # loss with eval/loss, grad_norm; speed, waiting
    pictures = [Image.open(io.BytesIO(data)) for data in held(html, "image/png")]
    assert pictures and all(picture.size[0] >= 320 for picture in pictures)
    (sound,) = held(html, "audio/wav")
    with wave.open(io.BytesIO(sound)) as opened:
        assert opened.getnframes() == 2 * (50 + 25)
    assert html.count("<figcaption>step ") == report.GALLERY
    assert "step 5<" in html and "step 210<" in html  # the first and the last are always there


def test_a_run_that_trains_still_has_a_page(folder):
    (folder / "result.json").unlink()
    html = report.write_page(folder).read_text(encoding="utf-8")
    assert "not finished" in html and "1 min 40 s" in html and "<h2>Result" not in html


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="config.json is missing"):
        report.write_page(tmp_path)


def test_panels_are_drawn_once_kept_in_order_and_may_fail(folder):
    def broken(run):
        raise ZeroDivisionError(EVIL)

    panels = {
        "z_first": samples(4),
        "broken": broken,
        "map": latent_map(30),
        "no_picture": lambda run: np.zeros((2, 2)),
    }
    run = stub_run(folder, panels, types.SimpleNamespace(decode=lambda x: x.astype(np.uint8)))
    html = report.write(run).read_text(encoding="utf-8")
    assert html.index("<figcaption>z first") < html.index("<figcaption>map")
    assert "ZeroDivisionError: &lt;script" in html and "not float64 (2, 2)" in html
    assert report.write_page(folder).read_text(encoding="utf-8") == html  # from the kept pictures
    with pytest.raises(UserError, match="without a folder"):
        report.write(stub_run(None))


def test_the_name_of_a_sample_file_keeps_its_dots(tmp_path):
    picture = np.zeros((1, 8, 8, 1), np.uint8)
    for name, written in (("guidance_1.5", "guidance_1.5.png"), ("grid.png", "grid.png"), ("plain", "plain.png")):
        path = save_samples(tmp_path / name, picture)
        assert path.name == written and Image.open(path).format == "PNG"
    assert save_samples(tmp_path / "v1.2", ["text"]).name == "v1.2.txt"


def test_pictures_become_png():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(to_png(image)))) == image).all()
    assert (np.asarray(Image.open(io.BytesIO(to_png(image[..., :1])))) == image[..., 0]).all()
    with pytest.raises(ValueError, match=r"uint8 \(5, 7, 2\)"):
        to_png(image[..., :2])


def test_a_comparison_names_what_differs(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((folder / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "knobs": {"text": EVIL, "lr": 0.2}}))
    (other / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0, "only_here": 1}\n')
    html = report.compare([folder, other], tmp_path / "pages" / "both.html").read_text(encoding="utf-8")
    knobs = html[html.index("Knobs that differ") :]
    assert "<td>lr</td><td>0.1</td><td>0.2</td>" in knobs and "<td>text</td>" not in knobs
    assert len(held(html, "image/svg+xml")) == 4  # loss, eval/loss, grad_norm, only_here


def test_metrics_share_a_chart_with_their_evaluation():
    groups = curves.metric_groups(
        [{"step": 1, "b": 0, "loss": 1}, {"step": 2, "eval/loss": 1, "eval/z": 2, "probe/a": 3}]
    )
    assert list(groups.items()) == [
        ("loss", ["eval/loss", "loss"]),
        ("z", ["eval/z"]),
        ("b", ["b"]),
        ("probe/a", ["probe/a"]),
    ]


def test_series_leaves_out_what_is_no_number_and_thins_what_is_long():
    rows = [{"step": i, "m": float("nan") if i == 3 else i * 2.0} for i in range(5000)] + [{"step": 5000}]
    steps, values = curves.series(rows, "m")
    assert len(steps) == curves.MOST_POINTS and (steps[0], steps[-1]) == (0, 4999)
    assert (values == 2 * steps).all()
    assert curves.series([*rows[:6], rows[-1], {"step": 7, "m": None}], "m")[0].tolist() == [0, 1, 2, 4, 5]


def test_smoothing_keeps_a_constant_and_the_inside_of_a_line():
    line = np.arange(200.0)
    reach = 200 // 50
    assert np.allclose(curves._smooth(np.full(200, 3.0)), 3.0)
    assert np.allclose(curves._smooth(line)[reach:-reach], line[reach:-reach])


def test_a_chart_does_not_change_between_two_drawings():
    drawn = [curves.chart({"a": (np.arange(3.0), np.array([1.0, 900.0, 2.0]))}, "a", (1.0, 0.1)) for _ in range(2)]
    assert drawn[0] == drawn[1] and "<svg" in drawn[0]


def test_numbers_stand_under_their_heading():
    html = page.table([("a", 1234, True), ("b", 0.5, False)], ("name", "count", "flag"))
    assert html.count('class="number"') == 3 and "1,234" in html
