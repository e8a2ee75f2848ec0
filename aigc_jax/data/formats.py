"""Readers of raw files: each gives an array, or says which file is wrong, what was expected and what was found.

Every file may be packed by gzip or xz; a file named with or without its `.gz` or `.xz` is found either way.
"""

from __future__ import annotations

import ast
import gzip
import io
import lzma
import math
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aigc_jax.errors import UserError

PACKED = {".gz": gzip.open, ".xz": lzma.open}
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 22


def locate(root: Path, name: str) -> Path:
    """The file of a name, packed or not. Raises UserError with the names tried."""
    path = root / name
    plain = path.with_suffix("") if path.suffix in PACKED else path
    tried = dict.fromkeys([path, plain, *(plain.with_name(plain.name + suffix) for suffix in PACKED)])
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise UserError(f"missing data file: {path} (also tried {', '.join(one.name for one in list(tried)[1:])})")


def read_bytes(path: Path) -> bytes:
    """The file, unpacked. Raises UserError for an empty, truncated or damaged one."""
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path} is empty: 0 bytes")
    if path.suffix not in PACKED:
        return path.read_bytes()
    parts: list[bytes] = []
    try:
        with PACKED[path.suffix](path, "rb") as file:
            while part := file.read(CHUNK):
                parts.append(part)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        done = sum(map(len, parts))
        where = f"{path.suffix[1:]} stops after {done} unpacked bytes"
        raise UserError(f"{path} ({size} bytes) is truncated or damaged: {where}: {error}") from None
    return b"".join(parts)


def read_text(path: Path) -> str:
    """UTF-8 text, newlines as they are. Raises UserError with the place of a byte that is none."""
    return decode_text(read_bytes(path), str(path))


def decode_text(data: bytes, place: str) -> str:
    """UTF-8 of a file at `place`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: byte {error.start} of {len(data)} is {data[error.start]:#04x}, no UTF-8 text"
        ) from None


def lines_of(text: str) -> list[str]:
    """Lines split at newlines alone (other separators of Unicode stay), carriage returns dropped."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_idx(path: Path) -> np.ndarray:
    """The format of MNIST: two zero bytes, type, number of axes, sizes (big-endian), values."""
    data = read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise UserError(f"{path} is no idx file: expected 00 00 TYPE AXES, found {data[:4].hex(' ') or 'nothing'}")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise UserError(f"{path} is truncated: an idx header of {data[3]} axes has {header} bytes, found {len(data)}")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    return _values(path, data[header:], np.dtype(IDX_TYPES[data[2]]), shape, f" after {header} of header")


def _values(path: Path | str, data: bytes, dtype: np.dtype, shape: tuple[int, ...], note: str = "") -> np.ndarray:
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        sizes = " x ".join(map(str, shape))
        raise UserError(f"{path}: expected {expected} bytes ({sizes} {dtype.name}){note}, found {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_npy(path: Path) -> np.ndarray:
    """One array as `numpy.save` writes it; no pickles."""
    return _npy(read_bytes(path), str(path))


def _npy(data: bytes, place: str) -> np.ndarray:
    """An array from the bytes of an `.npy` file, its size checked against its header."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise UserError(f"{place} is no npy file: it begins with {data[:6].hex(' ') or 'nothing'} ({len(data)} bytes)")
    wide = data[6] >= 2
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    try:
        header = ast.literal_eval(data[start : start + length].decode("latin-1"))
        dtype, shape = np.dtype(header["descr"]), header["shape"]
    except (SyntaxError, ValueError, KeyError, TypeError):
        raise UserError(f"{place}: the npy header is damaged: expected {length} bytes of a dict") from None
    if dtype.hasobject:
        raise UserError(f"{place} holds pickled objects, which are not read: save plain arrays")
    array = _values(place, data[start + length :], dtype, shape, f" after {start + length} of header")
    return array.reshape(shape[::-1]).T if header["fortran_order"] else array


def names_in_npz(path: Path) -> list[str]:
    """The arrays of an `.npz`."""
    with open_zip(path) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist()]


def read_npz(path: Path, name: str) -> np.ndarray:
    """One array of an `.npz`. Raises UserError with the arrays there are."""
    there = names_in_npz(path)
    if name not in there:
        raise UserError(f"{path} has no array {name!r}: it has {', '.join(there) or 'none'}")
    with open_zip(path) as archive:
        return _npy(read_member(archive, f"{name}.npy"), f"{path}[{name}]")


def open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        size = path.stat().st_size
        raise UserError(f"{path} ({size} bytes) is no whole zip file: truncated or damaged: {error}") from None


def read_member(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{archive.filename}: {member} is damaged: {error}") from None


def read_cifar(path: Path, labels: int) -> np.ndarray:
    """CIFAR's binary records [N, labels + 3072]: label bytes, then 32 x 32 red, green, blue."""
    data, record = read_bytes(path), labels + 3072
    if len(data) % record:
        raise UserError(
            f"{path}: expected records of {record} bytes, found {len(data)}: {len(data) % record} left over"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, record)


def read_picture(data: bytes, place: str, channels: int | None = None) -> np.ndarray:
    """uint8 [H, W, C] of any format of Pillow; C is 1 for grey and 3 for others, unless told; clear becomes white."""
    from PIL import Image

    if not data:
        raise UserError(f"{place} is empty: 0 bytes")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            grey = picture.mode in ("1", "L", "LA", "I;16", "I", "F")
            if "A" in picture.mode or "transparency" in picture.info:
                clear = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            one = channels == 1 or (channels is None and grey)
            pixels = np.asarray(picture.convert("L" if one else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{place} ({len(data)} bytes) is no readable picture: {error}") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_wav(data: bytes, place: str) -> tuple[int, np.ndarray]:
    """(rate, int16 [samples]) of a PCM file of 8, 16, 24 or 32 bits; several channels are averaged."""
    rate, channels = read_channels(data, place)
    return rate, np.rint(channels.mean(1)).astype(np.int16)


def read_channels(data: bytes, place: str) -> tuple[int, np.ndarray]:
    """(rate, int16 [samples, channels]) of such a file."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            count, frames = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(f"{place} ({len(data)} bytes) is no readable PCM wav: {error or 'it ends early'}") from None
    if len(frames) != count * width * channels:
        raise UserError(f"{place}: expected {count * width * channels} bytes of samples, found {len(frames)}")
    samples = _SAMPLES[width](np.frombuffer(frames, np.uint8))
    return rate, samples.reshape(-1, channels)


_SAMPLES: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda raw: (raw.astype(np.int16) - 128) * 256,
    2: lambda raw: raw.view("<i2"),
    3: lambda raw: raw.reshape(-1, 3)[:, 1:].copy().view("<i2").reshape(-1),  # the upper 16 of 24 bits
    4: lambda raw: raw.view("<i4") >> 16,
}
