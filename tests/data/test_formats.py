"""Raw formats: what is read equals what was written; what is damaged is named with the numbers."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import wave
import zipfile

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import formats
from aigc_jax.errors import UserError


def idx(x: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.tobytes()


def npy(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def wav(samples: bytes, width: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(8000)
        out.writeframes(samples)
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    def written(name: str, data: bytes):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return written


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)


def test_idx_packed_and_plain(write):
    for name, data in [("a", idx(PIXELS)), ("b.gz", gzip.compress(idx(PIXELS))), ("c.xz", lzma.compress(idx(PIXELS)))]:
        np.testing.assert_array_equal(formats.read_idx(write(name, data)), PIXELS)
    wide = np.arange(6, dtype=">i4")
    read = formats.read_idx(write("d", idx(wide, 0x0C)))
    assert read.dtype == np.int32 and read.tolist() == wide.tolist()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("short", idx(PIXELS)[:-7], r"short: expected 60 bytes \(3 x 4 x 5 uint8\) after 16 of header, found 53"),
        ("long", idx(PIXELS) + b"x", "expected 60 bytes .*, found 61"),
        ("header", idx(PIXELS)[:9], "an idx header of 3 axes has 16 bytes, found 9"),
        ("png", b"\x89PNG", "png is no idx file: expected 00 00 TYPE AXES, found 89 50 4e 47"),
        ("empty.gz", b"", "empty.gz is empty: 0 bytes"),
        ("cut.gz", gzip.compress(idx(PIXELS))[:-9], "cut.gz .* is truncated or damaged: gz stops after"),
        ("cut.xz", lzma.compress(idx(PIXELS))[:-9], "cut.xz .* is truncated or damaged: xz stops after"),
        ("text.gz", b"hello", r"text.gz \(5 bytes\) is truncated or damaged"),
    ],
)
def test_damaged_idx(write, name, data, message):
    with pytest.raises(UserError, match=message) as caught:
        formats.read_idx(write(name, data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("x", [PIXELS, PIXELS.T, np.float64(3), np.array(["a", "bc"]), np.zeros((0, 3))], ids=str)
def test_npy(write, x):
    read = formats.read_npy(write("a.npy", npy(x)))
    np.testing.assert_array_equal(read, x)
    assert read.dtype == np.asarray(x).dtype


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(PIXELS)[:-7], r"expected 60 bytes \(3 x 4 x 5 uint8\) after 128 of header, found 53"),
        (b"nothing at all", "is no npy file: it begins with 6e 6f 74 68 69 6e"),
        (npy(PIXELS)[:40], "npy header is damaged"),
        (npy(np.array([{}], object)), "holds pickled objects"),
    ],
)
def test_damaged_npy(write, data, message):
    with pytest.raises(UserError, match=message):
        formats.read_npy(write("a.npy", data))


def test_npz(write):
    file = io.BytesIO()
    np.savez_compressed(file, images=PIXELS, names=np.array(["x"]))
    path = write("a.npz", file.getvalue())
    np.testing.assert_array_equal(formats.read_npz(path, "images"), PIXELS)
    with pytest.raises(UserError, match="a.npz has no array 'labels': it has images, names"):
        formats.read_npz(path, "labels")
    with pytest.raises(UserError, match=r"b.npz \(\d+ bytes\) is no whole zip file"):
        formats.read_npz(write("b.npz", file.getvalue()[:-60]), "images")
    broken = bytearray(file.getvalue())
    broken[80:90] = bytes(10)
    with pytest.raises(UserError, match="images.npy is damaged"):
        formats.read_npz(write("c.npz", bytes(broken)), "images")


def test_locate_finds_packed_and_plain(write, tmp_path):
    path = write("a.txt.gz", b"x")
    assert formats.locate(tmp_path, "a.txt") == formats.locate(tmp_path, "a.txt.xz") == path
    with pytest.raises(UserError, match=r"missing data file: .*b.txt.gz \(also tried b.txt, b.txt.xz\)"):
        formats.locate(tmp_path, "b.txt.gz")


def test_text(write):
    assert formats.read_text(write("a.txt.gz", gzip.compress("Zoë\n".encode()))) == "Zoë\n"
    with pytest.raises(UserError, match="b.txt: byte 2 of 4 is 0xff, no UTF-8 text"):
        formats.read_text(write("b.txt", b"ab\xffc"))
    assert formats.lines_of("a\r\n\u2028b\n\n") == ["a", "\u2028b", ""] and formats.lines_of("") == []


def test_cifar_records(write):
    data = np.arange(2 * 3074, dtype=np.uint64).astype(np.uint8)
    assert formats.read_cifar(write("a.bin", data.tobytes()), 2).shape == (2, 3074)
    with pytest.raises(UserError, match="expected records of 3073 bytes, found 6148: 2 left over"):
        formats.read_cifar(write("a.bin", data.tobytes()), 1)


def picture(x: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(x)
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


def test_pictures_of_every_mode_are_grey_or_colour():
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(formats.read_picture(picture(colour), "a"), colour)
    assert formats.read_picture(picture(colour, "L"), "a").shape == (4, 6, 1)
    assert formats.read_picture(picture(colour, "P"), "a").shape == (4, 6, 3)
    assert set(np.unique(formats.read_picture(picture(colour, "1"), "a"))) <= {0, 255}
    assert formats.read_picture(picture(colour), "a", 1).shape == (4, 6, 1)
    assert formats.read_picture(picture(colour, "L"), "a", 3).shape == (4, 6, 3)
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (formats.read_picture(picture(clear), "a") == 255).all()


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_damaged_pictures(keep):
    data = picture(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))[:keep]
    with pytest.raises(UserError, match="a.png"):
        formats.read_picture(data, "a.png")


def test_wav_of_every_width():
    x = np.array([-(2**15), -1, 0, 2**14], np.int16)
    wide = (x.astype("<i4") << 16).tobytes()
    for width, data in [(2, x.tobytes()), (4, wide), (3, b"".join(b"\x07" + x[i : i + 1].tobytes() for i in range(4)))]:
        rate, read = formats.read_wav(wav(data, width), "a")
        assert rate == 8000 and read.tolist() == x.tolist(), width
    assert formats.read_wav(wav(bytes([0, 128, 255]), 1), "a")[1].tolist() == [-(2**15), 0, 127 * 256]
    assert formats.read_wav(wav(np.array([2, 4, 6, 9], np.int16).tobytes(), 2, 2), "a")[1].tolist() == [3, 8]


def test_damaged_wav():
    data = wav(bytes(100), 2)
    with pytest.raises(UserError, match="a.wav: expected 100 bytes of samples, found 80"):
        formats.read_wav(data[:-20], "a.wav")
    for broken in (data[:10], b"hello"):
        with pytest.raises(UserError, match="a.wav .* is no readable PCM wav"):
            formats.read_wav(broken, "a.wav")


def test_damaged_zip_member(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", bytes(100))
    broken = file.getvalue().replace(bytes(50), bytes(49) + b"x", 1)
    with formats.open_zip(write("a.zip", broken)) as archive, pytest.raises(UserError, match="a.zip: a is damaged"):
        formats.read_member(archive, "a")
