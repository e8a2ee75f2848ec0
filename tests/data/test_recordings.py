"""Recordings of any rate, number of channels and length, as models of samples take them."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from aigc_jax.data import load_recordings
from aigc_jax.data.recordings import at_rate
from aigc_jax.errors import UserError


def write(path, samples, rate=8000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, np.int16).tobytes())


def sine(rate, hertz=440.0, seconds=0.1):
    return np.rint(2**14 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def load(folder, length=1000, **options):
    return load_recordings(f"files:{folder}", batch_size=2, length=length, rate=8000, **options)


def test_pieces_and_their_lengths(tmp_path):
    write(tmp_path / "train" / "a" / "short.wav", np.full(300, 2**14))
    write(tmp_path / "train" / "b" / "long.wav", np.arange(1, 2001))
    write(tmp_path / "test" / "b" / "other.wav", np.arange(1, 2001))
    data = load(tmp_path, classes=2, silence=50)
    batch = next(data.train(0))
    row = int(np.argmin(batch["length"]))
    assert sorted(batch["length"]) == [350, 1000] and batch["label"][row] == 0
    assert np.all(batch["wave"][row, :300] == 0.5) and np.all(batch["wave"][row, 300:] == 0)
    held = next(data.evaluate("train"))
    assert sorted(held["length"]) == [300, 1000], "silence is for training alone"
    firsts = [next(load(tmp_path).train(seed)) for seed in range(8)]
    starts = {float(batch["wave"][np.argmax(batch["length"]), 0]) for batch in firsts}
    assert len(starts) > 3, "a training piece begins anywhere"
    assert next(data.evaluate())["wave"][0, 0] == np.float32(2**-15), "an evaluation piece at the start"
    rate, decoded = data.decode(batch["wave"])
    assert rate == 8000 and decoded.shape == (2, 1000)


def test_another_rate_is_refused_or_resampled(tmp_path):
    write(tmp_path / "test" / "a.wav", sine(8000))
    write(tmp_path / "train" / "a.wav", sine(8000))
    write(tmp_path / "train" / "b.wav", sine(11025), rate=11025)
    with pytest.raises(UserError, match=r"b.wav: a recording at 11025 Hz of 1 channel, the experiment takes 8000 Hz"):
        next(load(tmp_path).train(0))
    batch = next(load(tmp_path, resample=True).evaluate("train"))
    assert abs(int(batch["length"][1]) - 800) <= 1
    inner = slice(50, 750)
    assert np.abs(batch["wave"][1, inner] - batch["wave"][0, inner]).max() < 0.01, "the same tone at either rate"


def test_several_channels_are_refused_or_mixed_down(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / part / "a.wav", np.array([[200, 400], [0, 6]]), channels=2)
    with pytest.raises(
        UserError, match=r"a.wav: a recording at 8000 Hz of 2 channels, the experiment takes 8000 Hz and 1"
    ):
        next(load(tmp_path).train(0))
    batch = next(load(tmp_path, resample=True).train(0))
    np.testing.assert_allclose(batch["wave"][0, :3] * 2**15, [300, 3, 0])


def test_an_empty_recording_and_a_label_out_of_range_name_their_file(tmp_path):
    for name in "abc":
        write(tmp_path / "train" / name / "x.wav", [] if name == "c" else [1, 2, 3])
        write(tmp_path / "test" / name / "x.wav", [1, 2, 3])
    with pytest.raises(UserError, match=r"c/x.wav: a wave of 0 samples: take it out of the data"):
        for _ in range(2):
            next(load(tmp_path).train(0))
    with pytest.raises(UserError, match="has 3 classes, the experiment 2"):
        next(load(tmp_path, classes=2).train(0))
    with pytest.raises(ValueError, match="length and rate are at least 1, silence at least 0: not 0, 8000 and 0"):
        load(tmp_path, length=0)


def test_what_the_source_says_of_its_rate_counts_where_no_column_does():
    wave = np.zeros((2, 4), np.float32)
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="a recording at 8000 Hz of 1 channel, the experiment takes 4000 Hz"):
        at_rate(4000, False, "tones")({"wave": wave}, rng)
    assert at_rate(4000, True, "tones")({"wave": wave}, rng)["wave"].shape == (2, 2)
    assert at_rate(4000, False)({"wave": wave}, rng)["wave"] is wave
