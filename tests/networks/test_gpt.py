from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.gpt import GPT, SIZES, Block, stack_blocks

GOLDEN = Path(__file__).parents[1] / "golden" / "gpt2.npz"
TINY = dict(vocab=13, context=12, width=12, depth=2, heads=3, dropout=0.0)


def tiny(**fields):
    return GPT(**{**TINY, **fields})


def random_params(net):
    """Every tensor random, norms and biases too, so that no term is hidden by a zero or a one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape, np.float32)), shapes)


def random_tokens(batch=2, length=9):
    return jnp.asarray(np.random.default_rng(1).integers(0, TINY["vocab"], (batch, length), np.int32))


def test_a_scanned_stack_has_as_many_parameters():
    net = GPT(**SIZES["124m"], scan=True)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 124_439_808


def from_transformers(weights):
    """Names of transformers -> ours. Its "Conv1D" weights are (in, out) already."""

    def norm(name):
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    def dense(name):
        return {"kernel": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    params = {"tokens": weights["transformer.wte.weight"], "positions": weights["transformer.wpe.weight"]}
    params["norm"] = norm("transformer.ln_f")
    for index in range(3):
        name = f"transformer.h.{index}"
        params[f"block_{index}"] = {
            "norm_attention": norm(f"{name}.ln_1"),
            "qkv": dense(f"{name}.attn.c_attn"),
            "out": dense(f"{name}.attn.c_proj"),
            "norm_mlp": norm(f"{name}.ln_2"),
            "up": dense(f"{name}.mlp.c_fc"),
            "down": dense(f"{name}.mlp.c_proj"),
        }
    return params


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_logits_loss_and_gradients_equal_those_of_transformers():
    with np.load(GOLDEN) as file:
        golden = dict(file)
    params = from_transformers({name[7:]: value for name, value in golden.items() if name.startswith("weight/")})
    net = GPT(vocab=131, context=24, width=30, depth=3, heads=5, dropout=0.0)
    tokens = jnp.asarray(golden["tokens"])

    def loss(params):
        logits = net.apply({"params": params}, tokens[:, :-1])
        log_probs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_probs, tokens[:, 1:, None], -1).mean(), logits

    (value, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert relative_error(logits, golden["logits"]) < 1e-5
    assert abs(value - golden["loss"]) < 1e-5 * golden["loss"]
    deep = golden["gradient/transformer.h.1.attn.c_attn.weight"]
    assert relative_error(gradient["block_1"]["qkv"]["kernel"], deep) < 1e-4
    assert relative_error(gradient["positions"], golden["gradient/transformer.wpe.weight"]) < 1e-4


def test_logits_depend_on_tokens_up_to_their_own_only():
    net = tiny()
    variables = {"params": random_params(net)}
    x = net.apply(variables, random_tokens(1, 6), method="embed")

    def logits(x):
        return net.apply(variables, net.apply(variables, x, method="features")[0], method="logits")

    jacobian = jax.jit(jax.jacrev(logits))(x)[0, :, :, 0]  # [T, V, T, D]
    influence = jnp.abs(jacobian).max((1, 3))  # [T, T]: of input s on output t
    assert jnp.all(jnp.triu(influence, 1) == 0)
    assert jnp.all(influence[np.tril_indices(6)] > 1e-4)


def test_zero_weights_give_every_token_the_same_probability():
    net = tiny(vocab=50257)
    params = jax.tree.map(jnp.zeros_like, random_params(net))
    logits = jax.jit(net.apply)({"params": params}, random_tokens(1, 2))
    assert jnp.allclose(jax.nn.logsumexp(logits, -1) - logits[..., 0], 10.824905)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("pieces", [(1,) * 9, (5, 1, 3), (9,)])
def test_cached_logits_equal_those_of_the_whole_sequence(scan, pieces):
    net, tokens = tiny(scan=scan), random_tokens()
    variables = {"params": random_params(net)}
    whole = jax.jit(net.apply)(variables, tokens)
    step = jax.jit(lambda tokens, cache: net.apply(variables, tokens, cache, method="step"))
    cache, read = net.empty_cache(2, 11), 0  # more slots than tokens: the empty ones must not count
    for piece in pieces:
        logits, cache = step(tokens[:, read : read + piece], cache)
        read += piece
        chex.assert_trees_all_close(logits, whole[:, read - 1], atol=1e-5)
    assert cache.length == 9


def test_scan_and_remat_change_no_number():
    tokens = random_tokens()
    params = random_params(tiny())

    def loss(net, params):
        logits = net.apply({"params": params}, tokens[:, :-1])
        return jnp.mean(jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0])

    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(tiny(), p)))(params)
    for fields in (dict(remat=True), dict(scan=True), dict(scan=True, remat=True)):
        given, expected = params, gradient
        if fields.get("scan"):
            given, expected = stack_blocks(params), stack_blocks(gradient)
        again, found = jax.jit(jax.value_and_grad(lambda p, fields=fields: loss(tiny(**fields), p)))(given)
        chex.assert_trees_all_close((again, found), (value, expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_initial_weights_have_the_released_deviations(scan):
    net = GPT(vocab=512, context=256, width=96, depth=2, heads=2, scan=scan)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    block = params["blocks"] if scan else params["block_1"]
    deviations = {"qkv": 0.02, "up": 0.02, "out": 0.01, "down": 0.01}
    for name, deviation in deviations.items():
        assert jnp.std(block[name]["kernel"]) == pytest.approx(deviation, rel=0.03)
        assert jnp.all(block[name]["bias"] == 0)
    assert jnp.std(params["tokens"]) == pytest.approx(0.02, rel=0.03)
    assert jnp.std(params["positions"]) == pytest.approx(0.01, rel=0.03)
    if scan:
        assert not jnp.allclose(block["qkv"]["kernel"][0], block["qkv"]["kernel"][1])


@pytest.mark.parametrize("scan", [False, True])
def test_dropout_draws_from_its_key_in_training_only(scan):
    net, tokens = tiny(dropout=0.5, scan=scan), random_tokens()
    variables = {"params": random_params(net)}
    train = jax.jit(lambda key: net.apply(variables, tokens, train=True, rngs={"dropout": key}))
    one, same, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    assert jnp.array_equal(one, same) and not jnp.allclose(one, other)
    whole, without = (jax.jit(each.apply)(variables, tokens) for each in (net, tiny(scan=scan)))
    assert jnp.array_equal(whole, without)


def test_dropout_falls_on_the_embeddings_and_on_what_each_branch_writes():
    """Each place by itself, the others silenced by zero weights."""

    def silenced(params, *names):
        return {name: jax.tree.map(jnp.zeros_like, one) if name in names else one for name, one in params.items()}

    net, tokens = tiny(dropout=0.5), random_tokens()
    params = silenced(random_params(net), "block_0", "block_1")
    rngs = {"dropout": jax.random.key(0)}
    dropped = net.apply({"params": params}, tokens, train=True, rngs=rngs)
    assert not jnp.allclose(dropped, net.apply({"params": params}, tokens))
    params, x = random_params(net)["block_0"], jax.random.normal(jax.random.key(1), (2, 5, 12))
    for other in ("out", "down"):
        variables = {"params": silenced(params, other)}
        train, plain = (
            Block(3, 0.02, 0.5, train).apply(variables, x, None, 0, rngs=rngs)[0] for train in (True, False)
        )
        assert not jnp.allclose(train, plain)


def test_half_precision_computes_in_half_and_answers_in_float32():
    tokens = random_tokens()
    params = jax.jit(tiny().init)(jax.random.key(0), tokens)["params"]
    whole, half = (jax.jit(tiny(dtype=dtype).apply)({"params": params}, tokens) for dtype in (None, jnp.bfloat16))
    assert half.dtype == jnp.float32
    assert 0 < relative_error(half, whole) < 0.03


def test_what_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match="5 heads do not divide a width of 12"):
        tiny(heads=5).init(jax.random.key(0), random_tokens())
    with pytest.raises(ValueError, match="13 tokens do not fit a context of 12"):
        tiny().init(jax.random.key(0), random_tokens(length=13))
    with pytest.raises(ValueError, match="cache of 13 tokens does not fit a context of 12"):
        tiny().empty_cache(1, 13)
