"""Experiment files are read without being imported; names, presets and knobs are checked, the nearest ones shown."""

import sys
import textwrap
from typing import Literal

import pytest

from aigc_jax import experiment as experiments
from aigc_jax.errors import UserError
from aigc_jax.experiment import Entry, Experiment, catalogue, find, load, read, resolve, signature

OWN = '''
    """A user's own experiment.

    More words.
    """

    from typing import Literal

    from aigc_jax.experiment import Experiment

    SYSTEMS = [3]
    PAPER = "Nobody, 2024 (arXiv:0000.00000)"
    PRESETS = {"paper": {}, "laptop": dict(width=8, betas=(0.5, 0.9))}
    EXPECTED = {"laptop": dict(metric="eval/nll", value=1.5, tolerance=0.1, direction="min", minutes=2)}


    def experiment(
        *,
        steps: int = 100,
        lr: float = 1e-3,
        width: int = 64,
        loss: Literal["hinge", "logistic"] = "hinge",
        betas: tuple[float, ...] = (0.9, 0.999),
        crop: tuple[int, str] = (32, "centre"),
        clip: float | None = None,
        flip: bool = True,
        data: str = "digits",
    ) -> Experiment:
        if width % 2:
            raise ValueError(f"width {width} is odd")
        return Experiment(method=(lr, width, betas, loss), data=(data, clip, flip), steps=steps)
'''


@pytest.fixture
def own(tmp_path):
    """Writes an experiment file and gives its path."""

    def write(text=OWN, name="own.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    return write


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A package of experiments of its own: adversarial/gan.py, likelihood/glow.py, and what is no experiment."""
    root = tmp_path / "experiments"
    for where in ("likelihood/glow.py", "adversarial/gan.py", "adversarial/__init__.py", "adversarial/_shared.py"):
        path = root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise RuntimeError('imported')\n" + textwrap.dedent(OWN) if path.stem[0] != "_" else "")
    monkeypatch.setattr(experiments, "_root", lambda: root)


# ------------------------------------------------------------------------------------------ reading without importing


def test_literals_are_read_without_importing(own):
    entry = read(
        own("import nothing_of_the_kind\nN = nothing_of_the_kind.N\nraise RuntimeError\n" + textwrap.dedent(OWN))
    )
    assert entry._replace(summary="") == Entry(
        name="own",
        chapter=entry.path.parent.name,
        path=entry.path,
        summary="",
        systems=[3],
        paper="Nobody, 2024 (arXiv:0000.00000)",
        presets={"paper": {}, "laptop": {"width": 8, "betas": (0.5, 0.9)}},
        expected={"laptop": dict(metric="eval/nll", value=1.5, tolerance=0.1, direction="min", minutes=2)},
    )


def test_presets_may_share_a_literal(own):
    text = "X = dict(steps=3)\nPRESETS = {'paper': {}, 'wide': dict(**X, width=8)}\ndef experiment(): ..."
    assert read(own(text)).presets == {"paper": {}, "wide": {"steps": 3, "width": 8}}


def test_a_literal_may_be_annotated(own):
    assert read(own(OWN.replace("PRESETS =", "PRESETS: dict[str, dict] ="))).presets["laptop"]["width"] == 8


def test_the_summary_is_the_first_line_of_the_docstring(own):
    assert read(own()).summary == "A user's own experiment."


def test_the_catalogue_lists_experiments_by_chapter_and_imports_none(tree):
    entries = catalogue()
    assert list(entries) == ["gan", "glow"]
    assert entries["gan"].chapter == "adversarial" and entries["glow"].chapter == "likelihood"
    assert find("glow") == entries["glow"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import no_such_module", "own.py line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("X = 1 / 0", "own.py line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(own, line, message):
    path = own(f"PRESETS = {{'paper': {{}}}}\n{line}\ndef experiment(): ...\n")
    with pytest.raises(UserError, match=message):
        load(str(path))


def test_two_experiments_of_one_name_are_refused_with_both_places(tree):
    (experiments._root() / "likelihood" / "gan.py").write_text(textwrap.dedent(OWN))
    places = ".*adversarial/gan.py or .*likelihood/gan.py"
    for look in (catalogue, lambda: find("gan"), lambda: find("glow")):
        with pytest.raises(UserError, match=f"two experiments are called 'gan': rename {places}"):
            look()


def test_every_experiment_of_this_package_can_be_listed():
    for name, entry in catalogue().items():
        assert entry.name == name and entry.summary, f"{entry.path} has no docstring"
        assert entry.presets.get("paper") == {}, f"{entry.path}: the paper preset is the defaults"
        assert "laptop" in entry.presets, f"{entry.path} has no laptop preset"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def experiment(): ...", "own.py has no PRESETS"),
        ("PRESETS = {}", "own.py has no function experiment"),
        ("N = 3\nPRESETS = {'paper': dict(n=N)}", "own.py line 2: PRESETS must be a literal"),
        ("N = 3\nPRESETS = {N: {}}", "own.py line 2: PRESETS must be a literal"),
        ("X = {}\nPRESETS = {'paper': {**X}}", "own.py line 2: PRESETS must be a literal"),
        ("PRESETS = {'paper': dict(**X)}\nX = {}", "own.py line 1: PRESETS must be a literal"),
        ("X = f()\nPRESETS = {'paper': dict(**X)}", "own.py line 1: PRESETS must be a literal"),
        ("PRESETS = {'paper': dict([], n=1)}", "own.py line 1: PRESETS must be a literal"),
        ("PRESETS = {", "own.py line 1: '{' was never closed"),
    ],
)
def test_a_file_that_is_no_experiment_says_why(own, text, message):
    with pytest.raises(UserError, match=message):
        read(own(text))


@pytest.mark.parametrize(
    ("literals", "message"),
    [
        ("PRESETS = ['paper']", r"own.py: PRESETS must be .*, not \['paper'\]"),
        ("PRESETS = {'paper': 3}", "own.py: PRESETS must be .*, not {'paper': 3}"),
        ("PRESETS = {}; EXPECTED = 3", "own.py: EXPECTED of every preset must have .*, not 3"),
        ("PRESETS = {}; EXPECTED = {'p': dict(metric='m')}", "own.py: EXPECTED of p must have .*, not {'metric': 'm'}"),
        (
            "PRESETS = {}; EXPECTED = {'p': dict(metric='m', value=1, direction='up')}",
            "EXPECTED of p .*'direction': 'up'}",
        ),
    ],
)
def test_literals_of_another_form_are_refused_before_a_run(own, literals, message):
    with pytest.raises(UserError, match=message):
        read(own(f"{literals}\ndef experiment(): ..."))


# ------------------------------------------------------------------------------------------------------- finding one


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gam", "unknown experiment 'gam': did you mean 'gan'?"),
        ("zzz", "unknown experiment 'zzz': there are: gan, glow"),
        ("_shared", "unknown experiment '_shared'"),
        ("*", r"unknown experiment '\*'"),
        ("**", r"unknown experiment '\*\*'"),
        ("adversarial/gan", "unknown experiment 'adversarial/gan'"),
        ("nowhere.py", "no such experiment file: nowhere.py"),
    ],
)
def test_an_unknown_name_gets_the_nearest(tree, name, message):
    with pytest.raises(UserError, match=message):
        find(name)


def test_an_unknown_preset_gets_the_nearest(own):
    with pytest.raises(UserError, match="unknown preset of own 'labtop': did you mean 'laptop'?"):
        load(str(own()), preset="labtop")


def test_an_unknown_knob_gets_the_nearest(own):
    with pytest.raises(UserError, match="unknown knob of own 'widht': did you mean 'width'?"):
        load(str(own()), widht=3)


def test_an_unknown_knob_in_a_preset_is_seen_too(own):
    entry = read(own(OWN.replace("dict(width=8", "dict(breadth=8")))
    assert resolve(entry)["width"] == 64
    with pytest.raises(UserError, match="unknown knob of own 'breadth'"):
        resolve(entry, "laptop")


def test_a_knob_without_a_default_must_be_given(own):
    entry = read(own(OWN.replace("width: int = 64", "width: int")))
    with pytest.raises(UserError, match="knob width of own has no default and preset paper does not set it: give it"):
        resolve(entry)
    assert resolve(entry, width=2)["width"] == 2 and resolve(entry, "laptop")["width"] == 8


# ------------------------------------------------------------------------------------------------- importing a file


def test_a_network_in_a_file_of_ones_own_may_have_annotations_that_are_text(own):
    """Dataclasses look them up in `sys.modules`; without the file there, every Linen module in it fails."""
    text = """
        from __future__ import annotations

        import flax.linen as nn
        from aigc_jax.experiment import Experiment

        PRESETS = {"paper": {}}

        class Net(nn.Module):
            width: int = 3

        def experiment(*, steps: int = 1) -> Experiment:
            return Experiment(method=Net(), data=None, steps=steps)
    """
    assert load(str(own(text))).method.width == 3


def test_a_file_that_fails_to_import_is_not_kept(own):
    path = own("PRESETS = {'paper': {}}\nimport nothing_of_the_kind\ndef experiment(*, steps: int = 1): ...")
    for _ in range(2):
        with pytest.raises(UserError):
            load(str(path))
    assert str(path) not in sys.modules


def test_an_experiment_that_returns_something_else_is_refused(own):
    path = own("PRESETS = {'paper': {}}\ndef experiment(*, steps: int = 1): ...")
    with pytest.raises(UserError, match=r"own: experiment\(...\) must return an Experiment, not NoneType"):
        load(str(path))


# -------------------------------------------------------------------------------------------------- resolving knobs


def test_a_file_is_loaded_with_defaults_then_preset_then_knobs(own):
    path = own()
    built = load(str(path), preset="laptop", lr=0.1)
    assert isinstance(built, Experiment) and built.steps == 100 and built.seed == 0
    assert built.method == (0.1, 8, (0.5, 0.9), "hinge") and built.data == ("digits", None, True)
    knobs = dict(steps=100, lr=0.1, width=8, loss="hinge", betas=(0.5, 0.9), crop=(32, "centre"), clip=None, flip=True,
                 data="digits")  # fmt: skip
    assert built.config == {"experiment": str(path), "preset": "laptop", "knobs": knobs}
    assert list(built.config["knobs"]) == list(signature(read(path)))
    assert load(str(path), preset="laptop", width=4).method[1] == 4
    assert load(str(path)).method == (1e-3, 64, (0.9, 0.999), "hinge")


def test_an_experiment_that_refuses_a_value_ends_in_a_line_for_the_user(own):
    with pytest.raises(UserError, match="own: width 7 is odd"):
        load(str(own()), width=7)


def test_no_steps_are_refused(own):
    with pytest.raises(UserError, match="knob steps of own is at least 1, not 0"):
        load(str(own()), steps=0)


def test_annotations_are_evaluated(own):
    knobs = signature(read(own("from __future__ import annotations\n" + textwrap.dedent(OWN))))
    assert knobs["lr"].annotation is float and knobs["loss"].annotation == Literal["hinge", "logistic"]


@pytest.mark.parametrize(
    "knobs",
    [
        dict(lr=1),  # an int is a float
        dict(clip=None),
        dict(clip=1),
        dict(loss="logistic"),
        dict(betas=(0.1,)),
        dict(betas=[0.1, 1]),
        dict(crop=(8, "left")),
        dict(crop=[8, "left"]),  # as JSON has it
        dict(flip=False),
    ],
)
def test_values_of_the_annotated_type_are_taken(own, knobs):
    assert resolve(read(own()), **knobs).items() >= knobs.items()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (dict(width=8.0), "knob width of own takes int, not 8.0"),
        (dict(width="8"), "knob width of own takes int, not '8'"),
        (dict(width=True), "knob width of own takes int, not True"),
        (dict(lr=True), "knob lr of own takes float, not True"),
        (dict(flip=1), "knob flip of own takes bool, not 1"),
        (dict(loss="squared"), r"knob loss of own takes .*Literal.*, not 'squared'"),
        (dict(betas=(0.1, "x")), r"knob betas of own takes tuple\[float, ...\], not \(0.1, 'x'\)"),
        (dict(crop=(8, 8)), r"knob crop of own takes tuple\[int, str\], not \(8, 8\)"),
        (dict(crop=("left", "left")), r"knob crop of own takes tuple\[int, str\], not \('left', 'left'\)"),
        (dict(crop=(8,)), r"knob crop of own takes tuple\[int, str\], not \(8,\)"),
        (dict(crop=8), r"knob crop of own takes tuple\[int, str\], not 8"),
        (dict(clip=True), "knob clip of own takes .*None.*, not True"),
        (dict(clip="no"), r"knob clip of own takes .*None.*, not 'no'"),
        (dict(data=3), "knob data of own takes str, not 3"),
    ],
)
def test_values_of_another_type_are_refused(own, knobs, message):
    with pytest.raises(UserError, match=message):
        resolve(read(own()), **knobs)


@pytest.mark.parametrize(
    "knobs, words",
    [
        (dict(lr=-0.1), "knob lr of made is above 0, not -0.1"),
        (dict(lr=float("nan")), "knob lr of made is above 0, not nan"),
        (dict(hidden=(20, 0)), r"knob hidden of made is above 0, not \(20, 0\)"),
        (dict(batch_size=0), "knob batch_size of made is at least 1, not 0"),
        (dict(lr_end=-1.0), "knob lr_end of made is at least 0, not -1.0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_by_their_knob(knobs, words):
    with pytest.raises(UserError, match=words):
        resolve(find("made"), "laptop", **knobs)


def test_shares_are_below_one():
    with pytest.raises(UserError, match="knob ema of glow is at least 0 and below 1, not 1.0"):
        resolve(find("glow"), "laptop", ema=1.0)


def test_knobs_that_are_not_none_take_the_place_of_fields():
    fields = {"width": 192, "depth": 12}
    assert experiments.override(fields, width=None, depth=0) == {"width": 192, "depth": 0}
    assert fields == {"width": 192, "depth": 12}
