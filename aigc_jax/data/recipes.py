"""The known benchmarks: how the files that are handed around become columns. Data alone; `files` reads it.

A recipe is the content of a `dataset.json` (described in `aigc_jax.data.files`) but for `root`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aigc_jax.data import formats
from aigc_jax.errors import UserError

Recipe = dict[str, Any]
Column = dict[str, Any]

DIGIT_NAMES = [str(digit) for digit in range(10)]
CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FASHION_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
SPEAKERS = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
EMOJI_GROUPS = [
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
]  # fmt: skip
"""Alphabetical, as are the speakers: label i is place i."""


def _recipe(name: str, source: str, licence: str, variants: dict[str, Any]) -> Recipe:
    return {"name": name, "source": source, "licence": licence, "default": next(iter(variants)), "variants": variants}


def _split(examples: int, columns: dict[str, Column], **more: Any) -> dict[str, Any]:
    return {"examples": examples, "columns": columns, **more}


def _column(kind: str, *files: str, **more: Any) -> Column:
    return {"format": kind, "files": list(files), **more}


def _idx(name: str, source: str, licence: str, classes: list[str]) -> Recipe:
    """MNIST and its relatives; `valid` is the last 10,000 of `train`, which keeps them: then take `train[:50000]`."""

    def columns(prefix: str) -> dict[str, Column]:
        return {
            "image": _column("idx", f"{prefix}-images-idx3-ubyte.gz", shape=[28, 28, 1]),
            "label": _column("idx", f"{prefix}-labels-idx1-ubyte.gz", shape=[]),
        }

    splits = {
        "train": _split(60_000, columns("train")),
        "valid": _split(10_000, columns("train"), rows={"range": [50_000, 60_000]}),
        "test": _split(10_000, columns("t10k")),
    }
    return _recipe(
        name, source, licence, {name: {"evaluation": "test", "info": {"classes": classes}, "splits": splits}}
    )


def _binarized_mnist() -> Recipe:
    """Ones are 255, as in grey pictures, so that one experiment reads both."""
    splits = {
        name: _split(
            count,
            {"image": _column("npz", "binarized_mnist.npz", array=name, bits=784, times=255, shape=[28, 28, 1])},
        )
        for name, count in (("train", 50_000), ("valid", 10_000), ("test", 10_000))
    }
    variant = {"evaluation": "test", "info": {"note": "test is sorted by digit"}, "splits": splits}
    source = "Larochelle, after Salakhutdinov and Murray 2008: the fixed binarization"
    return _recipe("binarized_mnist", source, "none stated", {"binarized_mnist": variant})


def _cifar10() -> Recipe:
    """The binary version of the authors' page, unpacked."""

    def columns(*files: str) -> dict[str, Column]:
        return {
            "image": _column("cifar", *files, labels=1, take="image"),
            "label": _column("cifar", *files, labels=1, take=0),
        }

    train = columns(*(f"data_batch_{i}.bin" for i in range(1, 6)))
    splits = {"train": _split(50_000, train), "test": _split(10_000, columns("test_batch.bin"))}
    variant = {"evaluation": "test", "info": {"classes": CIFAR10_NAMES}, "splits": splits}
    return _recipe("cifar10", "A. Krizhevsky 2009, binary version", "none stated", {"cifar10": variant})


def _cifar10_subset() -> Recipe:
    """Variant `5000` trains on the pictures of the first file alone."""

    def columns(name: str, files: int) -> dict[str, Column]:
        return {
            "image": _column("npy", *(f"{name}_images_{i}.npy.xz" for i in range(files)), shape=[32, 32, 3]),
            "label": _column("npy", f"{name}_labels.npy", shape=[]),
        }

    def variant(each: int, train: dict[str, Any]) -> dict[str, Any]:
        info = {"classes": CIFAR10_NAMES, "note": f"train is a balanced subset: {each:,} of the 5,000 of each class"}
        splits = {"train": train, "test": _split(10_000, columns("test", 2))}
        return {"evaluation": "test", "info": info, "splits": splits}

    variants = {
        "cifar10_subset": variant(2_000, _split(20_000, columns("train", 4))),
        "5000": variant(500, _split(5_000, columns("train", 1), rows={"range": [0, 5_000]})),
    }
    return _recipe("cifar10_subset", "A. Krizhevsky 2009", "none stated", variants)


def _tinyshakespeare() -> Recipe:
    text = {"text": _column("text", "input.txt.gz")}
    splits = {"train": _split(1, text, part=[0, 0.9]), "valid": _split(1, text, part=[0.9, 1])}
    variant = {"evaluation": "valid", "splits": splits}
    return _recipe(
        "tinyshakespeare", "karpathy/char-rnn", "MIT; the text is public domain", {"tinyshakespeare": variant}
    )


def _ptb() -> Recipe:
    """Lines stripped, each with its newline: 50 characters; the tokenizer "word" closes each line with `<eos>`."""
    files = {name: _column("text", f"ptb.{name}.txt.gz", strip=True) for name in ("train", "valid", "test")}
    splits = {name: _split(1, {"text": file}) for name, file in files.items()}
    variant = {"evaluation": "test", "splits": splits}
    return _recipe("ptb", "Penn Treebank, Mikolov's version", "none stated: LDC text, research use", {"ptb": variant})


def _wikitext2() -> Recipe:
    splits = {name: _split(1, {"text": _column("text", f"{name}.txt.xz")}) for name in ("train", "valid", "test")}
    variant = {"evaluation": "test", "splits": splits}
    return _recipe("wikitext2", "Merity et al. 2017 (Wikipedia)", "CC BY-SA", {"wikitext2": variant})


def _multi30k() -> Recipe:
    """Variants: `raw`, and `tok`, lower-cased and tokenised. Columns `en`, `de`; `test` is the one of 2016."""
    sets = {
        "train": ("train", 29_000), "valid": ("val", 1_014), "test": ("test_2016_flickr", 1_000),
        "test_2017_flickr": ("test_2017_flickr", 1_000), "test_2017_mscoco": ("test_2017_mscoco", 461),
        "test_2018_flickr": ("test_2018_flickr", 1_071),
    }  # fmt: skip

    def variant(middle: str) -> dict[str, Any]:
        def columns(stem: str) -> dict[str, Column]:
            return {language: _column("lines", f"{stem}{middle}.{language}.gz") for language in ("en", "de")}

        splits = {name: _split(count, columns(stem)) for name, (stem, count) in sets.items()}
        return {"evaluation": "test", "info": {"languages": ["en", "de"]}, "splits": splits}

    source, licence = (
        "multi30k/dataset, task 1 (Elliott et al. 2016)",
        "none stated; Flickr30k: non-commercial research",
    )
    return _recipe("multi30k_en_de", source, licence, {"raw": variant(""), "tok": variant(".lc.norm.tok")})


def _fsdd() -> Recipe:
    """Spoken digits, 8 kHz; the authors' split: recordings 0 to 4 of each speaker and digit are test."""
    names = _column("npz", "index.npz", array="names")
    columns = {
        "wave": _column("waves", "waveforms.npy.xz", lengths=_column("npz", "index.npz", array="lengths")),
        "label": {**names, "pattern": r"^(\d)_", "classes": DIGIT_NAMES},
        "speaker": {**names, "pattern": r"_([a-z]+)_", "classes": SPEAKERS},
        "name": names,
    }
    splits = {
        "train": _split(2_700, columns, rows={"column": "name", "match": r"_([5-9]|\d\d)$"}),
        "test": _split(300, columns, rows={"column": "name", "match": r"_[0-4]$"}),
    }
    info = {"classes": DIGIT_NAMES, "speakers": SPEAKERS, "rate": 8000}
    variant = {"evaluation": "test", "info": info, "splits": splits}
    return _recipe("fsdd", "Jakobovski/free-spoken-digit-dataset", "CC BY-SA 4.0", {"fsdd": variant})


def _emoji() -> Recipe:
    """Pictures with names; variants 32 and 64 are pixels. No standard split: a fixed shuffle, 1,400 / 100 / 144."""

    def columns(image: Column) -> dict[str, Column]:
        def text(array: str, **more: Any) -> Column:
            return _column("npz", "emoji_32.npz", array=array, **more)

        label = text("groups", pattern="(.*)", classes=EMOJI_GROUPS)
        return {"image": image, "caption": text("names"), "keywords": text("keywords"), "label": label}

    def variant(image: Column) -> dict[str, Any]:
        ranges = {"train": [0, 1_400], "valid": [1_400, 1_500], "test": [1_500, 1_644]}
        splits = {
            name: _split(stop - start, columns(image), rows={"shuffle": 0, "range": [start, stop]})
            for name, (start, stop) in ranges.items()
        }
        return {"evaluation": "test", "info": {"classes": EMOJI_GROUPS}, "splits": splits}

    variants = {
        "32": variant(_column("npz", "emoji_32.npz", array="images", shape=[32, 32, 3])),
        "64": variant(_column("npy", "emoji_64_images.npy.xz", shape=[64, 64, 3])),
    }
    source = "googlefonts/noto-emoji, muan/unicode-emoji-json, muan/emojilib"
    return _recipe("emoji_noto", source, "pictures Apache-2.0, names and keywords MIT", variants)


def _omniglot() -> Recipe:
    """Variants `small1`, `small2`: the two small background sets; `background`: their union, Greek and Latin once.

    Drawers 1 to 16 of each character are train, 17 to 20 test. Variant `runs`: the 20 one-shot runs; `label` is the
    class, 0 to 19, within its `run`, of the pictures of `support`, and of those of `test`, which are to be matched
    with them.
    """
    again = "small2/(?!Greek|Latin)"  # the same pictures lie in small1
    variants = {
        "background": _drawn({**OMNIGLOT["1"], **OMNIGLOT["2"]}, ("1", "2"), f"(small1/|{again}).*"),
        "small1": _drawn(OMNIGLOT["1"], ("1",), ""),
        "small2": _drawn(OMNIGLOT["2"], ("2",), ""),
        "runs": _one_shot("all_runs.zip"),
    }
    return _recipe("omniglot_small", "brendenlake/omniglot", "MIT", variants)


OMNIGLOT = {
    "1": {"Balinese": 24, "Early_Aramaic": 22, "Greek": 24, "Korean": 40, "Latin": 26},
    "2": {"Greek": 24, "Japanese_(katakana)": 47, "Latin": 26, "Sanskrit": 42, "Tagalog": 17},
}
"""Characters of each alphabet."""


def _drawn(alphabets: dict[str, int], numbers: tuple[str, ...], members: str) -> dict[str, Any]:
    zips = [f"images_background_small{number}.zip" for number in numbers]
    characters = [f"{name}/character{i:02}" for name, count in alphabets.items() for i in range(1, count + 1)]

    def split(drawers: str, count: int) -> dict[str, Any]:
        chosen = f"{members}_({drawers})\\.png$"
        label = _column("names", *zips, members=chosen, pattern=r"/([^/]+/character\d\d)/", classes=characters)
        image = _column("pictures", *zips, members=chosen, shape=[105, 105, 1])
        return _split(count * len(characters), {"image": image, "label": label})

    splits = {"train": split("0[1-9]|1[0-6]", 16), "test": split("1[7-9]|20", 4)}
    return {"evaluation": "test", "info": {"classes": characters}, "splits": splits}


def _one_shot(file: str) -> dict[str, Any]:
    numbers = [f"{i:02}" for i in range(1, 21)]

    def split(part: str, classes_of: Column) -> dict[str, Any]:
        image = _column("pictures", file, members=f"/{part}/", shape=[105, 105, 1])
        run = _column("names", file, members=f"/{part}/", pattern=r"run(\d\d)", classes=numbers)
        label = {**classes_of, "pattern": r"class(\d\d)", "classes": numbers}
        return _split(400, {"image": image, "label": label, "run": run})

    splits = {
        "support": split("training", _column("names", file, members="/training/")),
        "test": split("test", _column("lines", file, members=r"class_labels\.txt$")),
    }
    return {"evaluation": "test", "info": {"classes": numbers}, "splits": splits}


def _uci() -> Recipe:
    """Binary tables, `x` float32 0 or 1. Two are there in part: connect4 has no test, ocr_letters no train."""

    def split(name: str, part: str, count: int, bits: int, **more: Any) -> dict[str, Any]:
        table = _column("npz", f"{name}.npz", array=part, dtype="float32", shape=[bits])
        return _split(count, {"x": table}, **more)

    def variant(name: str, bits: int, **sizes: int) -> dict[str, Any]:
        splits = {part: split(name, part, count, bits) for part, count in sizes.items()}
        return {"evaluation": list(splits)[-1], "splits": splits}

    letters = "ocr_letters_partial"
    parts = {
        "train": split(letters, "valid", 8_000, 128, rows={"range": [0, 8_000]}),
        "valid": split(letters, "valid", 2_000, 128, rows={"range": [8_000, 10_000]}),
        "test": split(letters, "test", 10_000, 128),
    }
    note = "train and valid are 8,000 and 2,000 of the published valid: not comparable"
    variants = {
        "adult": variant("adult", 123, train=5_000, valid=1_414, test=26_147),
        "mushrooms": variant("mushrooms", 112, train=2_000, valid=500, test=5_624),
        "connect4": variant("connect4_partial", 126, train=16_000, valid=4_000),
        "ocr_letters": {"evaluation": "test", "info": {"note": note}, "splits": parts},
    }
    return _recipe("uci_binary", "UCI tables, Larochelle and Murray 2011", "none stated", variants)


def recipes() -> dict[str, Recipe]:
    """Every known benchmark, by name."""
    mnist = _idx("mnist", "Y. LeCun, C. Cortes, C. Burges", "none stated", DIGIT_NAMES)
    fashion = _idx("fashion_mnist", "zalandoresearch/fashion-mnist", "MIT", FASHION_NAMES)
    rest = (_binarized_mnist(), _cifar10(), _cifar10_subset(), _tinyshakespeare(), _ptb(), _wikitext2(), _multi30k(),
            _fsdd(), _emoji(), _omniglot(), _uci())  # fmt: skip
    return {recipe["name"]: recipe for recipe in (mnist, fashion, *rest)}


def files_of(recipe: Recipe) -> list[str]:
    """Every raw file a recipe reads, in order."""
    return list(dict.fromkeys(name for variant in recipe["variants"].values() for name in _files(variant)))


def _files(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node.get("files", ())
        for child in node.values():
            yield from _files(child)


def recognise(folder: Path) -> Recipe | None:
    """The recipe of a folder that bears a benchmark's name and holds its files; None for any other.

    The name is asked for because files alone do not tell MNIST from Fashion-MNIST, or a benchmark's text from one's own.
    """
    recipe = recipes().get(folder.resolve().name)
    return {**recipe, "root": "."} if recipe and _complete(recipe, folder) else None


def fitting(folder: Path) -> list[str]:
    """The names of the benchmarks whose files all lie in a folder."""
    return [name for name, recipe in recipes().items() if _complete(recipe, folder)]


def _complete(recipe: Recipe, folder: Path) -> bool:
    return all(_present(folder, name) for name in files_of(recipe))


def _present(folder: Path, name: str) -> bool:
    try:
        return formats.locate(folder, name).is_file()
    except UserError:
        return False
