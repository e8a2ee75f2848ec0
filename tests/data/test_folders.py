"""A user's own folder of pictures, sounds or texts."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import compose, folders, load_data, open_source, random_resized_crop, resize, scale
from aigc_jax.errors import UserError

DRAW = np.random.default_rng(0)


def picture(path, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(DRAW.integers(0, 256, (*size, 3), np.uint8)).save(path)


def sound(path, rate=8000, count=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.arange(count, dtype=np.int16).tobytes())


def test_classes_are_folders_and_a_tenth_is_held_out(tmp_path):
    for name in "ba":
        for i in range(10):
            picture(tmp_path / name / f"{i}.png")
    source = open_source(f"files:{tmp_path}")
    assert source.info == {"classes": ["a", "b"], "examples": {"train": 18, "test": 2}} and source.evaluation == "test"
    rows = [source.splits[name].where(i) for name in ("train", "test") for i in range(len(source.splits[name]))]
    assert len(set(rows)) == 20
    batch = source.splits["train"].take(np.array([0, 17]))
    assert batch["image"].shape == (2, 6, 5, 3) and batch["label"].tolist() == [0, 1]
    assert source.splits["train"].where(0).endswith("/a/0.png") or source.splits["test"].where(0).endswith("/a/0.png")


def test_split_folders_share_their_classes(tmp_path):
    picture(tmp_path / "train" / "cat" / "0.png")
    picture(tmp_path / "train" / "dog" / "0.jpg")
    picture(tmp_path / "val" / "dog" / "1.png")
    source = open_source(f"files:{tmp_path}")
    assert source.evaluation == "valid" and source.info["classes"] == ["cat", "dog"]
    assert source.splits["valid"].take(np.arange(1))["label"].tolist() == [1]


def test_captions_lie_beside_pictures(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(f"number {i}\n")
    rows = open_source(f"files:{tmp_path}").splits["train"]
    texts = rows.take(np.arange(2))["caption"].tolist()
    assert set(texts) < {"number 0", "number 1", "number 2"}


def test_many_sizes_become_one_by_a_transform_or_are_named(tmp_path, monkeypatch):
    picture(tmp_path / "a.png", (6, 5))
    picture(tmp_path / "b.png", (9, 9))
    picture(tmp_path / "c.png", (7, 8))
    spec = {"image": ((4, 4, 3), "float32")}
    for keep in (folders.KEEP, 0):  # kept in memory, and decoded batch by batch
        monkeypatch.setattr(folders, "KEEP", keep)
        open_source.cache_clear()
        data = load_data(
            f"files:{tmp_path}",
            batch_size=8,
            spec=spec,
            train=compose(random_resized_crop(4), scale(-1, 1)),
            evaluate=compose(resize(4), scale(-1, 1)),
        )
        assert next(data.train(0))["image"].shape == (8, 4, 4, 3)
        assert next(data.evaluate())["image"].dtype == np.float32
        plain = load_data(f"files:{tmp_path}", batch_size=8, spec=spec, train=scale())
        with pytest.raises(UserError, match=r"[abc].png: image is \d x \d x 3, the experiment takes 4 x 4 x 3"):
            next(plain.train(0))


def test_channels_follow_the_spec(tmp_path):
    picture(tmp_path / "a.png")
    data = load_data(f"files:{tmp_path}", batch_size=1, spec={"image": ((6, 5, 1), "uint8")})
    assert next(data.train(0))["image"].shape == (1, 6, 5, 1)
    assert data.info["evaluation"] == "train"  # one picture cannot be held out


def test_a_damaged_picture_is_named(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    with pytest.raises(UserError, match=r"b.png \(50 bytes\) is no readable picture"):
        open_source(f"files:{tmp_path}")


def test_sounds(tmp_path):
    sound(tmp_path / "one" / "a.wav")
    sound(tmp_path / "two" / "b.wav", count=7)
    source = open_source(f"files:{tmp_path}")
    assert source.info["rate"] == 8000 and source.info["classes"] == ["one", "two"]
    lengths = {len(source.splits[name].take(np.arange(1))["wave"][0]) for name in ("train", "test")}
    assert lengths == {20, 7}
    sound(tmp_path / "two" / "c.wav", rate=16000)
    open_source.cache_clear()
    source = open_source(f"files:{tmp_path}")
    rows = [split.take(np.arange(len(split))) for split in source.splits.values()]
    assert source.info["rates"] == [8000, 16000] and "rate" not in source.info
    assert sorted(np.concatenate([row["rate"] for row in rows])) == [8000, 8000, 16000]


def test_texts_by_folder_and_by_file(tmp_path):
    (tmp_path / "b.txt").write_text("9" * 40)
    (tmp_path / "a.md").write_text("0" * 59)
    source = open_source(f"files:{tmp_path}")
    train, test = (source.splits[name].take(np.arange(1))["text"][0] for name in ("train", "test"))
    assert train == "0" * 59 + "\n" + "9" * 30 and test == "9" * 10
    one = open_source(f"files:{tmp_path / 'a.md'}")
    assert one.splits["train"].take(np.arange(1))["text"][0] == "0" * 53


def test_a_folder_without_data_says_what_it_could_be(tmp_path):
    with pytest.raises(
        UserError, match="no pictures, sounds or texts among 0 files; .* NAME one of mnist, fashion_mnist"
    ):
        open_source(f"files:{tmp_path}")
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="among 1 files; .* aigc data build NAME --from"):
        open_source(f"files:{tmp_path}")
