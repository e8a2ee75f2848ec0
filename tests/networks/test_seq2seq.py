import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.recurrent import Recurrent
from aigc_jax.networks.seq2seq import Attention, RNNSearch, Seq2Seq, flipped

KEY = jax.random.key(0)
B, S, T, H, E = 3, 5, 4, 6, 4
SOURCE = jnp.array([[3, 1, 2, 0, 0], [4, 4, 1, 5, 2], [6, 0, 0, 0, 0]])
LENGTH = jnp.array([3, 5, 1])
TOKENS = jnp.array([[0, 2, 7, 1], [0, 3, 3, 5], [0, 6, 1, 1]])


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def random_params(net, *inputs):
    shapes = jax.eval_shape(net.init, KEY, *inputs)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), jnp.float32), shapes)


def attend(score, params, query, annotations, mask=None):
    return Attention(score, width=H).apply({"params": params}, query, annotations, mask)


@pytest.mark.parametrize("score", ["dot", "general", "concat", "additive"])
def test_attention_is_its_formula_for_each_query_and_annotation(score):
    query, annotations = normal(1, B, T, H), normal(2, B, S, H)
    mask = jnp.arange(S) < LENGTH[:, None]
    params = random_params(Attention(score, width=H), query, annotations, mask) if score != "dot" else {}
    context, weights = attend(score, params, query, annotations, mask)
    p = {name: np.asarray(value) for name, value in params.items()}
    for b in range(B):
        for t in range(T):
            h, scores = np.asarray(query[b, t]), []
            for a in np.asarray(annotations[b, : LENGTH[b]]):
                scores.append({
                    "dot": lambda h=h, a=a: h @ a,
                    "general": lambda h=h, a=a: h @ (a @ p["memory"]),
                    "concat": lambda h=h, a=a: np.tanh(np.concatenate([h, a]) @ p["both"]) @ p["v"],
                    "additive": lambda h=h, a=a: np.tanh(h @ p["query"] + a @ p["memory"]) @ p["v"],
                }[score]())  # fmt: skip
            alpha = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[b, t, : LENGTH[b]], alpha, rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(weights[b, t, LENGTH[b] :], 0)
            expected = alpha @ np.asarray(annotations[b, : LENGTH[b]])
            np.testing.assert_allclose(context[b, t], expected, rtol=1e-4, atol=1e-5)


def test_equal_scores_give_the_mean_and_an_order_changes_nothing():
    query, annotations = normal(1, B, T, H), normal(2, B, S, H)
    mask = jnp.arange(S) < LENGTH[:, None]
    params = random_params(Attention("additive", width=H), query, annotations, mask)
    _, weights = attend("additive", {**params, "v": jnp.zeros(H)}, query, annotations, mask)
    np.testing.assert_allclose(weights, jnp.broadcast_to((mask / LENGTH[:, None])[:, None], weights.shape), rtol=1e-6)
    order = jnp.array([4, 2, 0, 1, 3])
    context, weights = attend("additive", params, query, annotations, mask)
    moved, turned = attend("additive", params, query, annotations[:, order], mask[:, order])
    np.testing.assert_allclose(moved, context, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(turned, weights[..., order], rtol=1e-5, atol=1e-6)


def test_general_with_the_identity_is_dot_and_concat_is_additive():
    query, annotations = normal(1, B, T, H), normal(2, B, S, H)
    dot, general = attend("dot", {}, query, annotations), attend("general", {"memory": jnp.eye(H)}, query, annotations)
    np.testing.assert_allclose(general[1], dot[1], rtol=1e-5, atol=1e-6)
    params = random_params(Attention("additive", width=H), query, annotations, None)
    both = {"both": jnp.concatenate([params["query"], params["memory"]]), "v": params["v"]}
    one, other = attend("additive", params, query, annotations), attend("concat", both, query, annotations)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="queries of 6 and annotations of 5"):
        attend("dot", {}, query, annotations[..., :5])


def nets():
    def stack():
        return Recurrent(H, 2, "lstm")

    yield "plain", Seq2Seq(stack(), stack(), 7, 8, E)
    yield "luong", Seq2Seq(stack(), stack(), 7, 8, E, "general", flip=False)
    yield "fed", Seq2Seq(stack(), stack(), 7, 8, E, "concat", feed=True)
    yield "bahdanau", RNNSearch(7, 8, H, E, maxout=3)


@pytest.mark.parametrize("name, net", list(nets()))
def test_writing_token_by_token_is_reading_them_all_and_padding_is_nothing(name, net):
    params = random_params(net, SOURCE, TOKENS, LENGTH)
    answer = jax.jit(lambda source, tokens, length: net.apply({"params": params}, source, tokens, length))
    logits, alpha = answer(SOURCE, TOKENS, LENGTH)
    assert logits.shape == (B, T, 8) and (alpha is None) == (name == "plain")
    other, _ = answer(jnp.where(SOURCE == 0, 6, SOURCE), TOKENS, LENGTH)  # what stands in the padding
    np.testing.assert_allclose(other, logits, rtol=1e-5, atol=1e-5)
    alone, _ = answer(SOURCE[:1, :3], TOKENS[:1], None)
    np.testing.assert_allclose(alone, logits[:1], rtol=1e-4, atol=1e-4)
    begin, step = (jax.jit(lambda p, *a, m=m: net.apply({"params": p}, *a, method=m)) for m in ("start", "step"))
    at = begin(params, SOURCE, LENGTH)
    for t in range(T):
        last, at = step(params, TOKENS[:, t : t + 1], at)
        np.testing.assert_allclose(last, logits[:, t], rtol=1e-4, atol=1e-5)
    assert float(jnp.ptp(logits, 0).min()) > 1e-3, "the answers depend on the source"


def test_without_attention_the_decoder_begins_where_the_reversed_source_ends():
    net = Seq2Seq(Recurrent(H, 2), Recurrent(H, 2), 7, 8, E)
    params = random_params(net, SOURCE, TOKENS, LENGTH)
    logits, _ = net.apply({"params": params}, SOURCE, TOKENS, LENGTH)
    stack = Recurrent(H, 2)
    backwards = params["source_tokens"][SOURCE[0, 2::-1]][None]
    _, states = stack.apply({"params": params["encoder"]}, backwards)
    h, _ = stack.apply({"params": params["decoder"]}, params["target_tokens"][TOKENS[:1]], states)
    expected = h @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(logits[:1], expected, rtol=1e-4, atol=1e-5)


def test_rnnsearch_is_its_equations_step_by_step():
    net = RNNSearch(7, 8, H, E, maxout=3)
    params = random_params(net, SOURCE, TOKENS, LENGTH)
    logits, alpha = net.apply({"params": params}, SOURCE, TOKENS, LENGTH)
    p = jax.tree.map(np.asarray, params)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def cell(layer, x, s):
        read, own = x @ layer["input"] + layer["bias"], s @ layer["recurrent"][:, : 2 * H]
        r, z = np.split(sigmoid(read[: 2 * H] + own), 2)
        return (1 - z) * np.tanh(read[2 * H :] + (r * s) @ layer["recurrent"][:, 2 * H :]) + z * s

    for b in range(B):
        embedded, halves = p["source_tokens"][SOURCE[b, : LENGTH[b]]], []
        for name, order in (("layer_0", 1), ("layer_0_reverse", -1)):
            s, half = np.zeros(H), []
            for x in embedded[::order]:
                s = cell(p["encoder"][name], x, s)
                half.append(s)
            halves.append(np.stack(half[::order]))
        annotations = np.concatenate(halves, 1)
        s = np.tanh(annotations[0, H:] @ p["first"]["kernel"] + p["first"]["bias"])
        for t in range(T):
            y, attention = p["target_tokens"][TOKENS[b, t]], p["attention"]
            e = np.tanh(s @ attention["query"] + annotations @ attention["memory"]) @ attention["v"]
            weights = np.exp(e) / np.exp(e).sum()
            np.testing.assert_allclose(alpha[b, t, : LENGTH[b]], weights, rtol=1e-4, atol=1e-5)
            c = weights @ annotations
            deep = np.concatenate([s, y, c]) @ p["deep"]["kernel"] + p["deep"]["bias"]
            found = deep.reshape(-1, 2).max(1) @ p["output"]["kernel"] + p["output"]["bias"]
            np.testing.assert_allclose(logits[b, t], found, rtol=1e-4, atol=1e-4)
            s = cell(p["decoder"]["layer_0"], np.concatenate([y, c]), s)


def test_flipping_turns_the_valid_part_alone():
    x = jnp.arange(10).reshape(2, 5)
    np.testing.assert_array_equal(flipped(x, jnp.array([3, 5])), [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]])
    np.testing.assert_array_equal(flipped(x[..., None], None)[..., 0], x[:, ::-1])


def test_stacks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="goes on from the encoder's states"):
        Seq2Seq(Recurrent(4), Recurrent(5), 7, 8, E).init(KEY, SOURCE, TOKENS)
