"""The embedded sets: real data that needs no download, each a NumPy function that gives its splits.

    digits    1,797 handwritten digits of scikit-learn, 8 x 8 (E. Alpaydin, C. Kaynak: UCI optical recognition of digits)
    patches   crops of scikit-learn's two photographs, china.jpg and flower.jpg (CC BY, by their authors)
    pydoc     `pydoc_data.topics`, the reference of the Python that runs this (PSF licence)
    blanks    the same text without its blanks, to be put back: letters, and whether a blank follows each
    numbers   numbers in figures and in English words, to be translated either way
    adding    sequences of numbers of which two marked ones are to be added
    toy       densities of the plane, drawn with a fixed seed
    tones     synthetic sound: `aigc_jax.data.tones`

Each returns {split: {column: array}}.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Splits = dict[str, dict[str, np.ndarray]]

PHOTOGRAPHS = ("china", "flower")
TEST_DIGITS = 360


def digits() -> Splits:
    """`image` uint8 [8, 8, 1] (the 17 grey levels spread over 0..255), `label` 0..9; 1,437 train, 360 test.

    The split is stratified and fixed: of each class the same share, the rows drawn by a generator whose stream numpy
    never changes.
    """
    from sklearn.datasets import load_digits

    levels, label = (np.asarray(x) for x in load_digits(return_X_y=True))  # [1797, 64] of 0..16, [1797]
    image = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = label.astype(np.int32)
    test = stratified(label, TEST_DIGITS)
    return {
        "train": {"image": image[~test], "label": label[~test]},
        "test": {"image": image[test], "label": label[test]},
    }


def stratified(label: np.ndarray, count: int) -> np.ndarray:
    """A mask [N] of `count` held-out rows: each class gives its share, rounded by largest remainder."""
    draw = np.random.RandomState(0)  # the legacy stream: numpy promises never to change it
    sizes = np.bincount(label)
    share = sizes * count / len(label)
    quota = np.floor(share).astype(int)
    quota[np.argsort(quota - share, kind="stable")[: count - quota.sum()]] += 1
    held = np.zeros(len(label), bool)
    for one, n in enumerate(quota):
        held[draw.permutation(np.flatnonzero(label == one))[:n]] = True
    return held


def patches(size: int = 32) -> Splits:
    """`image` uint8 [size, size, 3] and `label`, which photograph: 0 china, 1 flower.

    Train and test come from disjoint regions: columns up to four fifths of the width, and the rest. Neighbouring
    patches overlap: their corners lie a quarter of their size apart.
    """
    from sklearn.datasets import load_sample_images

    splits: Splits = {}
    photographs = load_sample_images().images  # two of [427, 640, 3]
    width = photographs[0].shape[1]
    if not 4 <= size <= width // 5:
        raise ValueError(
            f"patches of {size} pixels: the test region is {width // 5} wide, so 4 <= size <= {width // 5}"
        )
    for name, start, stop in (("train", 0, width * 4 // 5), ("test", width * 4 // 5, width)):
        cut = [_windows(np.asarray(photo)[:, start:stop], size, size // 4) for photo in photographs]
        label = np.repeat(np.arange(len(cut), dtype=np.int32), [len(one) for one in cut])
        splits[name] = {"image": np.concatenate(cut), "label": label}
    return splits


def _windows(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """[H, W, C] -> every window [n, size, size, C] on a grid of `stride`."""
    view = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.ascontiguousarray(view.transpose(0, 1, 3, 4, 2)).reshape(-1, size, size, image.shape[2])


def pydoc() -> Splits:
    """`text`, one document a split: all topics in the order of their names; the last tenth of the text is test."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    cut = len(text) * 9 // 10
    return {"train": {"text": document(text[:cut])}, "test": {"text": document(text[cut:])}}


def document(text: str) -> np.ndarray:
    """One text as a column of one row."""
    return np.array([text], dtype=object)


def blanks(most: int = 64) -> Splits:
    """Lines of `pydoc` without their blanks: `inputs` uint8 [most] of bytes, `labels` 0 or 1, a blank follows or not.

    A line is `length` letters long, what is left is padding by 0; at its end nothing follows. Lines of fewer than eight
    letters, of more than `most`, and such as are not ASCII are left out; the last tenth of the text is test.
    """
    return {name: _blanks(columns["text"][0], most) for name, columns in pydoc().items()}


def _blanks(text: str, most: int) -> dict[str, np.ndarray]:
    lines = [words for line in text.split("\n") if line.isascii() and (words := line.split())]
    lines = [words for words in lines if 8 <= sum(map(len, words)) <= most]
    inputs, labels = np.zeros((2, len(lines), most), np.uint8)
    length = np.array([sum(map(len, words)) for words in lines], np.int32)
    for row, words in enumerate(lines):
        inputs[row, : length[row]] = np.frombuffer("".join(words).encode(), np.uint8)
        labels[row, np.cumsum([len(word) for word in words[:-1]], dtype=int) - 1] = len(words) > 1
    return {"inputs": inputs, "labels": labels.astype(np.int32), "length": length}


ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBER_WORDS = (*ONES, *TENS, "hundred", "thousand")


def numbers() -> Splits:
    """`figures` "342017" and `words` "three hundred forty two thousand seventeen", 0 to 999,999; 20,000 and 2,000.

    As many of six figures as of five and so on, as far as there are so many; no number of test is in train.
    """
    draw = np.random.RandomState(0)  # the legacy stream: numpy promises never to change it
    short = np.arange(1000)
    long = [draw.permutation(np.arange(10**n, 10 ** (n + 1)))[:7_000] for n in (3, 4, 5)]
    chosen = draw.permutation(np.concatenate([short, *long]))
    return {"train": _spelled(chosen[2_000:22_000]), "test": _spelled(chosen[:2_000])}


def _spelled(chosen: np.ndarray) -> dict[str, np.ndarray]:
    figures, words = np.empty((2, len(chosen)), object)
    figures[:], words[:] = [str(n) for n in chosen.tolist()], [spell(n) for n in chosen.tolist()]
    return {"figures": figures, "words": words}


def spell(n: int) -> str:
    """English words of 0 <= n < 1,000,000, without "and" and hyphens. Raises ValueError for another number."""
    if not 0 <= n < 1_000_000:
        raise ValueError(f"spelled are 0 to 999,999, not {n}")
    if n < 20:
        return ONES[n]
    if n < 100:
        head, rest = TENS[n // 10 - 2], n % 10
    elif n < 1000:
        head, rest = f"{ONES[n // 100]} hundred", n % 100
    else:
        head, rest = f"{spell(n // 1000)} thousand", n % 1000
    return f"{head} {spell(rest)}" if rest else head


def adding(steps: int = 200) -> Splits:
    """The adding problem (Hochreiter and Schmidhuber 1997): `inputs` float32 [steps, 2], `value` their answer.

    The first of the two is uniform in [0, 1], the second marks by 1 one number in either half, `value` is the sum of
    those. Who always answers 1 errs by 1/6 in the square. 20,000 train, 1,000 test. Raises ValueError below two steps.
    """
    if steps < 2:
        raise ValueError(f"two numbers are added, and there are {steps} steps")
    return {"train": _adding(20_000, steps, 0), "test": _adding(1_000, steps, 1)}


def _adding(n: int, steps: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, half = np.arange(n), steps // 2
    value, mark = rng.random((n, steps), np.float32), np.zeros((n, steps), np.float32)
    for first, last in ((0, half), (half, steps)):
        mark[rows, rng.integers(first, last, n)] = 1
    return {"inputs": np.stack([value, mark], -1), "value": (value * mark).sum(1)}


def toy(name: str) -> Splits:
    """`x` float32 [2], drawn from the density `name` of `TOYS`; 20,000 train, 5,000 test."""
    return {
        "train": {"x": TOYS[name](20_000, np.random.default_rng(0))},
        "test": {"x": TOYS[name](5_000, np.random.default_rng(1))},
    }


def _moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two interleaved half circles, noise 0.1."""
    angle, lower = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    return _noisy(np.where(lower[:, None], np.array([1.0, 0.5]) - upper, upper) - np.array([0.5, 0.25]), 0.1, rng)


def _circles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two concentric circles of radius 1 and 2, noise 0.1."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), 1.0 + rng.integers(0, 2, n)
    return _noisy(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), 0.1, rng)


def _gaussians(n: int, rng: np.random.Generator) -> np.ndarray:
    """Eight Gaussians of deviation 0.2 on a circle of radius 2."""
    angle = rng.integers(0, 8, n) * (np.pi / 4)
    return _noisy(2 * np.stack([np.cos(angle), np.sin(angle)], 1), 0.2, rng)


def _checkerboard(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on the eight dark squares of a 4 x 4 board over [-2, 2]^2."""
    column, half = rng.integers(0, 4, n), rng.integers(0, 2, n)
    corner = np.stack([column, 2 * half + column % 2], 1) - 2
    return (corner + rng.uniform(size=(n, 2))).astype(np.float32)


def _roll(n: int, rng: np.random.Generator) -> np.ndarray:
    """The swiss roll's spiral: radius proportional to the angle, from 1.5 pi to 4.5 pi, scaled to about 2."""
    angle = 1.5 * np.pi * (1 + 2 * rng.uniform(size=n))
    return _noisy(angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) / 7, 0.07, rng)


def _pinwheel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Five arms: stretched Gaussians, each turned by exp of its distance (Johnson et al., arXiv:1603.06277)."""
    radial = 1 + 0.3 * rng.normal(size=n)
    tangential = 0.1 * rng.normal(size=n)
    angle = rng.integers(0, 5, n) * (2 * np.pi / 5) + 0.25 * np.exp(radial)
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.stack([radial * cos - tangential * sin, radial * sin + tangential * cos], 1)
    return (2 * x).astype(np.float32)


def _noisy(x: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return (x + deviation * rng.normal(size=x.shape)).astype(np.float32)


TOYS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "moons": _moons,
    "circles": _circles,
    "gaussians": _gaussians,
    "checkerboard": _checkerboard,
    "roll": _roll,
    "pinwheel": _pinwheel,
}
