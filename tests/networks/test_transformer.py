from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from aigc_jax.generate import beam_search
from aigc_jax.networks.layers import sinusoidal
from aigc_jax.networks.transformer import Transformer, beam_step
from aigc_jax.pretrained import marian

GOLDEN = Path(__file__).parents[1] / "golden" / "transformer.npz"
TINY = dict(vocab=11, width=12, depth=2, inner=10, heads=3, dropout=0.0, context=9)
KEY = jax.random.key(0)
SOURCE = jnp.asarray(np.random.default_rng(1).integers(0, 11, (3, 6)), jnp.int32)
TOKENS = jnp.asarray(np.random.default_rng(2).integers(0, 11, (3, 5)), jnp.int32)
LENGTH = jnp.array([6, 2, 4])


def tiny(**fields):
    return Transformer(**{**TINY, **fields})


def random_params(net):
    """Every tensor random, norms and biases too, so that no term is hidden by a zero or a one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, KEY, SOURCE, TOKENS)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape, np.float32)), shapes)


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def dense(weights, *names):
    """Several linear maps of torch side by side."""
    return {
        "kernel": np.concatenate([weights[f"{name}.weight"].T for name in names], 1),
        "bias": np.concatenate([weights[f"{name}.bias"] for name in names]),
    }


def norm(weights, name):
    return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}


def from_torch(weights, depth, width):
    """nn.Transformer's names; it keeps the maps of queries, keys and values one below another."""
    split = {}
    for name, value in weights.items():
        if "in_proj" in name:
            kind = name.rsplit("_", 1)[1]
            for part, one in zip("qkv", np.split(value, 3)):
                split[name.replace(f"in_proj_{kind}", f"{part}_proj.{kind}")] = one
        else:
            split[name] = value
    params = {"tokens": np.zeros((11, width), np.float32)}
    for side, count in zip(("encoder", "decoder"), depth):
        params[f"norm_{side}"] = norm(split, f"{side}.norm")
        for index in range(count):
            at, last = f"{side}.layers.{index}", 3 if side == "decoder" else 2
            parts = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
            layer = {"up": dense(split, f"{at}.linear1"), "down": dense(split, f"{at}.linear2"),
                     "norm_self": norm(split, f"{at}.norm1"), "norm_inner": norm(split, f"{at}.norm{last}")}  # fmt: skip
            own = [f"{at}.{parts['self_attention']}.{part}_proj" for part in "qkv"]
            layer["self_attention"] = {"qkv": dense(split, *own), "out": dense(split, f"{at}.self_attn.out_proj")}
            if side == "decoder":
                q, k, v = (f"{at}.{parts['cross_attention']}.{part}_proj" for part in "qkv")
                layer["cross_attention"] = {"query": dense(split, q), "key_value": dense(split, k, v),
                                            "out": dense(split, f"{at}.multihead_attn.out_proj")}  # fmt: skip
                layer["norm_cross"] = norm(split, f"{at}.norm2")
            params[f"{side}_{index}"] = layer
    return params


MARIAN = Transformer(vocab=53, width=18, depth=(3, 2), inner=(22, 26), heads=(3, 2), dropout=0.0, positions="halves",
                     attention_bias=True, activation="swish", logit_bias=True, eps=1e-5, context=32)  # fmt: skip
END, PAD = 7, 52


def marian_params(golden):
    weights = {name[7:]: value for name, value in golden.items() if name.startswith("weight/")}
    tensors = [tensor for tensor in marian._tensors(MARIAN) if tensor.ours]
    found = {one.ours: one.form.ours(*(weights[name] for name in one.theirs)) for one in tensors}
    return unflatten_dict(found, sep=".")["params"]


def test_logits_and_gradients_are_those_of_marian(golden):
    def loss(params):
        logits, _ = MARIAN.apply({"params": params}, golden["source"], golden["before"], golden["length"])
        log_p = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_p, golden["target"][..., None], -1).mean(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(marian_params(golden))
    assert relative_error(logits, golden["logits"]) < 1e-5
    table = golden["gradient/model.shared.weight"]  # there the look-up of padding has no gradient
    assert relative_error(gradient["tokens"][:PAD], table[:PAD]) < 1e-4
    deep = golden["gradient/model.encoder.layers.1.fc1.weight"]
    assert relative_error(gradient["encoder_1"]["up"]["kernel"], deep.T) < 1e-4
    assert relative_error(golden["logits"][0], golden["logits"][1]) > 1e-2, "the reference must depend on its input"


MARIAN_STEP = beam_step(MARIAN)


def without_padding(logits, texts, length):
    """Padding is not written, and the last token, after 12 others, is the end."""
    closing = jnp.where(jnp.arange(53) == END, 0.0, -jnp.inf)
    return jnp.where(length == 12, closing, jax.nn.log_softmax(logits).at[..., PAD].set(-jnp.inf))


@pytest.mark.parametrize("stop, alpha", [("present", 1.0), ("full", 0.7), ("bound", 0.5)])
def test_beams_write_what_those_of_transformers_write(golden, stop, alpha):
    variables = {"params": marian_params(golden)}
    start = jax.jit(partial(MARIAN.apply, slots=13, method="start"))
    at = start(variables, golden["source"], golden["length"])
    first = jnp.full(4, PAD, jnp.int32)
    tokens, scores = beam_search(MARIAN_STEP, (variables, at.memory), (at.past, at.length), first, 13, beams=4, end=END,
                                 alpha=alpha, form="power", stop=stop, score=without_padding)  # fmt: skip
    expected = golden[f"beam/{stop}"][:, 1:]  # without the first token
    ours = np.asarray(tokens).reshape(16, 13)[:, : expected.shape[1]]
    np.testing.assert_array_equal(ours, np.where(expected == PAD, END, expected))
    np.testing.assert_allclose(np.asarray(scores).reshape(-1), golden[f"score/{stop}"], rtol=1e-4)


def test_pre_norm_stacks_are_those_of_torch(golden):
    weights = {name[13:]: value for name, value in golden.items() if name.startswith("torch/weight/")}
    net = Transformer(vocab=11, width=18, depth=2, inner=22, heads=3, dropout=0.0, pre_norm=True, attention_bias=True,
                      eps=1e-5)  # fmt: skip

    def run(net, source, target, length):
        memory = net.remember(net.encoded(source, length), length)
        return net.decode(target, memory)[0]

    params = from_torch(weights, (2, 2), 18)
    y = jax.jit(nn_apply(net, run))(params, golden["torch/source"], golden["torch/target"], golden["length"])
    assert relative_error(y, golden["torch/out"]) < 1e-5


def nn_apply(net, run):
    return lambda params, *inputs: net.apply({"params": params}, *inputs, method=run)


def test_cached_logits_equal_those_of_the_whole_and_two_beams_share_a_source():
    """Rows 2 b and 2 b + 1 of the writing ask source b; empty slots and padding count nothing; learned positions too."""
    net = tiny(pre_norm=True, positions="learned", source_vocab=13, attention_bias=True)
    params = {"params": random_params(net)}
    both = jnp.stack([TOKENS, TOKENS[:, ::-1]], 1).reshape(6, 5)
    whole = jax.jit(net.apply)(params, jnp.repeat(SOURCE, 2, 0), both, jnp.repeat(LENGTH, 2))[0]

    @jax.jit
    def written(source):
        at = net.apply(params, source, LENGTH, method="start")
        at = at._replace(past=jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, 0), at.past))
        found, read = [], 0
        for piece in (1, 3, 1):
            logits, at = net.apply(params, both[:, read : read + piece], at, method="step")
            found, read = [*found, logits], read + piece
        return jnp.stack(found, 1), at.length

    logits, length = written(SOURCE)
    chex.assert_trees_all_close(logits, whole[:, jnp.array([0, 3, 4])], atol=2e-5)
    assert length == 5
    padded = jnp.where(jnp.arange(6) < LENGTH[:, None], SOURCE, (SOURCE + 1) % 11)
    chex.assert_trees_all_equal(written(padded)[0], logits)


def test_order_comes_from_positions_alone_and_no_token_sees_a_later_one():
    net = tiny(positions="none")
    params = {"params": random_params(net)}
    order = jnp.array([4, 0, 5, 2, 1, 3])

    @jax.jit
    def both(source, tokens):
        return net.apply(params, source, method="encode"), net.apply(params, source, tokens)[0]

    encoded, logits = both(SOURCE, TOKENS)
    permuted, same = both(SOURCE[:, order], TOKENS)
    chex.assert_trees_all_close(permuted, encoded[:, order], atol=1e-5)
    chex.assert_trees_all_close(same, logits, atol=1e-4)
    _, later = both(SOURCE, TOKENS.at[:, 3].add(1))
    chex.assert_trees_all_equal(later[:, :3], logits[:, :3])
    assert jnp.all(jnp.abs(later[:, 3:] - logits[:, 3:]).max(-1) > 1e-4)
    placed = jax.jit(lambda s: tiny().apply(params, s, method="encode"))
    assert jnp.abs(placed(SOURCE[:, order]) - placed(SOURCE)[:, order]).max() > 1e-2


def test_one_table_learns_from_source_target_and_softmax():
    net = tiny()
    params = random_params(net)
    words = jnp.zeros((1, 2), jnp.int32)

    def cost(params, source, tokens):
        return net.apply({"params": params}, source, tokens)[0][..., 5].sum()

    gradient = jax.jit(jax.grad(cost))(params, words + 3, words + 4)["tokens"]
    assert set(np.flatnonzero(np.abs(gradient).max(1))) == {3, 4, 5}
    assert "source_tokens" not in params and "source_positions" not in params


def test_a_row_of_nothing_is_finite():
    net = tiny()
    logits, _ = jax.jit(net.apply)({"params": random_params(net)}, SOURCE, TOKENS, jnp.array([0, 6, 6]))
    assert jnp.all(jnp.isfinite(logits))


def test_positions_are_those_of_the_paper_and_turn_by_their_distance():
    table = sinusoidal(40, 512)
    np.testing.assert_allclose(table[1, :4], [0.84147098, 0.54030231, 0.82185619, 0.56969501], rtol=1e-6)
    pairs = table[:, 0::2] + 1j * table[:, 1::2]  # sin + i cos
    turn = pairs[7] / pairs[0]
    np.testing.assert_allclose(pairs[7:], pairs[:-7] * turn, atol=1e-5)


def test_dropout_draws_from_its_key_in_training_only():
    net = tiny(dropout=0.5, depth=1)
    variables = {"params": random_params(net)}
    train = jax.jit(lambda key: net.apply(variables, SOURCE, TOKENS, train=True, rngs={"dropout": key})[0])
    one, same, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    assert jnp.array_equal(one, same) and not jnp.allclose(one, other)
    without = jax.jit(tiny(depth=1).apply)(variables, SOURCE, TOKENS)[0]
    chex.assert_trees_all_close(jax.jit(net.apply)(variables, SOURCE, TOKENS)[0], without, atol=1e-6)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(heads=5), "5 heads do not divide a width of 12"),
        (dict(heads=(3, 7)), "7 heads do not divide a width of 12"),
        (dict(activation="snake"), "unknown activation 'snake': there are tanh"),
        (dict(positions="learned", context=5), "6 tokens do not fit a table of 5 learned positions"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(tiny(**fields).init, KEY, SOURCE, TOKENS)
