from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn.initializers import uniform

from aigc_jax.networks.layers import elman, gru, lstm
from aigc_jax.networks.recurrent import GATES, LanguageModel, Reader, Recurrent, gradient_norms

GOLDEN = Path(__file__).parents[1] / "golden" / "recurrent.npz"
B, T, D, H = 3, 6, 4, 5
KEY = jax.random.key(0)


def normal_like(shapes, scale=0.5):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape, np.float32)), shapes)


def random_params(net, *inputs):
    return normal_like(jax.eval_shape(net.init, KEY, *inputs)["params"])


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def run(net, params, *inputs, **options):
    return jax.jit(lambda params, *inputs: net.apply({"params": params}, *inputs, **options))(params, *inputs)


def from_torch(weights, cell, layers, directions):
    """torch's names -> ours: matrices transposed, its two biases added but for the GRU's candidate."""
    params = {}
    for layer in range(layers):
        for way in ("", "_reverse")[:directions]:
            read = {kind: weights[f"{kind}_l{layer}{way}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            own = {"input": read["weight_ih"].T, "recurrent": read["weight_hh"].T}
            own["bias"] = read["bias_ih"] + read["bias_hh"]
            if cell == "gru":
                width = len(own["bias"]) // 3
                own["bias"][2 * width :] = read["bias_ih"][2 * width :]
                own["recurrent_bias"] = read["bias_hh"][2 * width :]
            params[f"layer_{layer}{way}"] = own
    return params


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_two_layers_are_those_of_torch(cell, directions):
    """Outputs, last states at the true ends of the rows, and gradients."""
    with np.load(GOLDEN) as stored:
        length, x = stored["length"], stored["x"]
        at = f"{cell}/{directions}/"
        golden = {name.removeprefix(at): value for name, value in stored.items() if name.startswith(at)}
    weights = {name.removeprefix("weight/"): value for name, value in golden.items() if name.startswith("weight/")}
    params = from_torch(weights, cell, 2, directions)
    net = Recurrent(6, depth=2, cell=cell, bidirectional=directions == 2)
    mask = np.arange(x.shape[1]) < length[:, None]
    parts = [golden[f"start/{index}"] for index in range(2 if cell == "lstm" else 1)]
    start = tuple(zip(*parts)) if cell == "lstm" else tuple(parts[0])

    def cost(params):
        outputs, states = net.apply({"params": params}, x, start, mask)
        last = [jnp.stack(part) for part in (zip(*states) if cell == "lstm" else [states])]
        outputs = jnp.where(mask[..., None], outputs, 0)
        return jnp.sin(outputs).sum() + sum(jnp.cos(one).sum() for one in last), (outputs, last)

    (_, (outputs, last)), gradient = jax.jit(jax.value_and_grad(cost, has_aux=True))(params)
    assert relative_error(outputs, golden["outputs"]) < 1e-5
    for index, one in enumerate(last):
        assert relative_error(one, golden[f"last/{index}"]) < 1e-5
    theirs = {name.removeprefix("gradient/"): value for name, value in golden.items() if name.startswith("gradient/")}
    for layer, own in gradient.items():
        name = f"l{layer.removeprefix('layer_')}"
        assert relative_error(own["input"], theirs[f"weight_ih_{name}"].T) < 1e-4
        assert relative_error(own["recurrent"], theirs[f"weight_hh_{name}"].T) < 1e-4
        assert relative_error(own["bias"], theirs[f"bias_ih_{name}"]) < 1e-4
        if cell == "gru":
            assert relative_error(own["recurrent_bias"], theirs[f"bias_hh_{name}"][12:]) < 1e-4


FINGERPRINTS = {  # parameters with two biases for each gate, out[T - 1, :4], sum of all outputs
    "elman": (184, (0.99922071, 0.99825530, 0.93949229, 0.88617826), 31.37477553),
    "lstm": (736, (-0.04322072, -0.05808824, -0.00367316, 0.04157951), -0.66240312),
    "gru": (552, (-0.04285046, -0.09224211, 0.03082102, 0.07886105), -0.79641304),
}


@pytest.mark.parametrize("cell", FINGERPRINTS)
def test_weights_by_formula_give_the_published_fingerprint(cell):
    count, last, total = FINGERPRINTS[cell]
    net = Recurrent(4, depth=2, cell=cell, bidirectional=True)
    x = np.sin(3 * np.arange(5)[:, None] + np.arange(3) + 1)[None].astype(np.float32)
    weights = {}
    for layer, inputs in enumerate((3, 8)):
        for way in ("", "_reverse"):
            rows = 4 * GATES[cell]
            for kind, fan in (("weight_ih", inputs), ("weight_hh", 4)):
                place = 37 * (np.arange(rows)[:, None] + 1) * (np.arange(fan) + 1) % 1009
                weights[f"{kind}_l{layer}{way}"] = np.sqrt(2 / fan) * np.sin(2 * np.pi * place / 1009)
            for kind in ("bias_ih", "bias_hh"):
                weights[f"{kind}_l{layer}{way}"] = 0.1 * np.cos(np.arange(rows) + 1)
    assert sum(one.size for one in weights.values()) == count
    outputs, _ = run(net, from_torch(weights, cell, 2, 2), x)
    np.testing.assert_allclose(outputs[0, -1, :4], last, rtol=2e-6, atol=2e-7)
    assert outputs.sum() == pytest.approx(total, rel=2e-6)


def test_one_step_of_one_unit_is_the_closed_form():
    x, h = jnp.ones((1, 1, 1)), jnp.full((1, 1), 0.5)

    def step(cell, gates, state, bias, **options):
        w = jnp.ones((1, gates))
        return np.asarray(jax.tree.leaves(cell(x, w, w, jnp.array(bias), state, **options)[1])).ravel()

    assert step(elman, 1, h, [0.0]) == pytest.approx([0.9051482536])
    state = (h, jnp.full((1, 1), 0.25))
    assert step(lstm, 4, state, [0.0] * 4) == pytest.approx([0.6027537568, 0.9444197284])
    assert step(lstm, 4, state, [0.0, 1, 0, 0]) == pytest.approx([0.6125026073, 0.9710615643])
    assert step(gru, 3, h, [0.0] * 3, recurrent_bias=jnp.array([0, 0, 1.0])) == pytest.approx([0.5870123346])
    assert step(gru, 3, h, [0, 0, 1.0], reset_after=False) == pytest.approx([0.5882861048])


@pytest.mark.parametrize("cell, bidirectional", [("lstm", True), ("gru_before", False)])
def test_rows_are_alone_and_padding_is_nothing(cell, bidirectional):
    net, x, length = Recurrent(H, 2, cell, bidirectional), normal(0, B, T, D), jnp.array([4, 6, 1])
    params = random_params(net, x)
    mask = jnp.arange(T) < length[:, None]
    outputs, states = run(net, params, jnp.where(mask[..., None], x, 1e3), None, mask)
    alone, last = run(net, params, x[:1, :4])
    np.testing.assert_allclose(outputs[:1, :4], alone, rtol=1e-4, atol=1e-5)
    for found, expected in zip(jax.tree.leaves(states), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(found[:1], expected, rtol=1e-4, atol=1e-5)
    top = np.concatenate([alone[0, -1, :H], alone[0, 0, H:]])  # forward after the last step, backward at the first
    np.testing.assert_allclose(net.summary(states)[0], top, rtol=1e-4, atol=1e-5)


def test_the_other_way_round_the_two_directions_change_places():
    net, x = Recurrent(H, 1, "gru", bidirectional=True), normal(0, B, T, D)
    params = random_params(net, x)
    swapped = {"layer_0": params["layer_0_reverse"], "layer_0_reverse": params["layer_0"]}
    outputs, _ = run(net, params, x)
    mirrored, _ = run(net, swapped, x[:, ::-1])
    np.testing.assert_allclose(mirrored, jnp.roll(outputs[:, ::-1], H, -1), rtol=1e-5, atol=1e-6)


def test_chunks_with_states_carried_are_the_whole():
    net, x = Recurrent(H, 2, "lstm"), normal(0, B, T, D)
    params = random_params(net, x)
    whole, last = run(net, params, x)
    _, states = run(net, params, x[:, :3], net.zero_states(B))
    outputs, states = run(net, params, x[:, 3:], states)
    np.testing.assert_allclose(outputs, whole[:, 3:], rtol=1e-5, atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), states, last)


def test_saturated_gates_hold_what_they_hold():
    """An LSTM of forget gate 1 and input gate 0 keeps its cell; a GRU of z = 1 its state."""
    x, h, c = normal(0, B, T, D), normal(1, B, H), normal(2, B, H)
    bias = jnp.repeat(jnp.array([-1e4, 1e4, 0, 0]), H)
    _, (_, kept) = lstm(x, normal(3, D, 4 * H), normal(4, H, 4 * H), bias, (h, c))
    np.testing.assert_array_equal(kept, c)
    bias = jnp.repeat(jnp.array([0, 1e4, 0]), H)
    for after in (True, False):
        _, kept = gru(x, normal(3, D, 3 * H), normal(4, H, 3 * H), bias, h, reset_after=after)
        np.testing.assert_array_equal(kept, h)


def test_initial_weights_are_orthogonal_by_gate_and_forget_late():
    params = jax.jit(Recurrent(H, 1, "lstm").init)(KEY, jnp.zeros((1, 2, D)))["params"]["layer_0"]
    for gate in jnp.split(params["recurrent"], 4, -1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(H), atol=1e-5)
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], H))
    drawn = jax.jit(Recurrent(H, 1, "gru", matrices=uniform(0.1)).init)(KEY, jnp.zeros((1, 2, D)))["params"]
    assert all(0 < np.abs(leaf).max() <= 0.1 for leaf in jax.tree.leaves(drawn))


@pytest.mark.parametrize("cell, biases", [("elman", 1), ("lstm", 4), ("gru", 4), ("gru_before", 3)])
def test_counts(cell, biases):
    def count(net):
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, KEY, jnp.zeros((1, 2, 128)))))

    assert count(Recurrent(256, 1, cell)) == GATES[cell] * (128 + 256) * 256 + biases * 256
    assert count(Recurrent(256, 1, cell, use_bias=False)) == GATES[cell] * (128 + 256) * 256


def test_dropout_falls_between_layers_and_variational_dropout_stays():
    """With a bias alone all steps of a layer's input are equal: what differs over time is the mask."""
    x = normal(0, B, T, D)
    for variational in (False, True):
        net = Recurrent(32, 2, "elman", dropout=0.5, variational=variational)
        params = random_params(net, x)
        params["layer_0"] = {**jax.tree.map(jnp.zeros_like, params["layer_0"]), "bias": jnp.ones(32)}
        params["layer_1"]["recurrent"] *= 0
        outputs, states = run(net, params, x, train=True, rngs={"dropout": KEY})
        np.testing.assert_allclose(states[0], np.tanh(np.ones((B, 32))), rtol=1e-6)  # none falls on the first layer
        assert (np.ptp(np.asarray(outputs), 1).max() < 1e-6) == variational


def test_a_reader_of_one_step_is_a_feed_forward_net():
    net, x = Reader(Recurrent(H, cell="elman"), outputs=2), normal(0, B, 1, D)
    params = random_params(net, x)
    logits, features = run(net, params, x)
    layer, head = params["stack"]["layer_0"], params["output"]
    hidden = jnp.tanh(x[:, 0] @ layer["input"] + layer["bias"])
    np.testing.assert_allclose(features["pooled"], hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, hidden @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_writes_from_its_states_what_it_reads_at_once(tied):
    net = LanguageModel(Recurrent(H, 2, "gru"), vocab=11, embedding=H, tied=tied)
    tokens = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    params = random_params(net, tokens)
    logits, _ = run(net, params, tokens)
    step = jax.jit(partial(net.apply, method="step"))
    states = Recurrent(H, 2, "gru").zero_states(2)
    for t in range(5):
        last, states = step({"params": params}, tokens[:, t : t + 1], states)
        np.testing.assert_allclose(last, logits[:, t], rtol=1e-4, atol=1e-5)
    assert ("output" in params) != tied
    if tied:
        moved = {**params, "tokens": params["tokens"].at[10].add(1.0)}  # a token that was not read
        assert (run(net, moved, tokens)[0][..., 10] != logits[..., 10]).all()


def test_gradients_vanish_in_an_elman_net_and_not_in_an_lstm():
    """|| d h_T / d h_t || <= s^(T - t), s the largest singular value of U; an LSTM's cell passes its forget gates on."""
    x, v, steps = normal(0, 2, 101, 3), normal(1, 2, 8), 100
    found = {}
    for cell in ("elman", "lstm", "gru"):
        net = Recurrent(8, cell=cell, forget_bias=6.0)
        params = jax.jit(net.init)(KEY, x)["params"]
        if cell == "elman":
            params["layer_0"]["recurrent"] *= 0.9
        if cell == "gru":
            params["layer_0"]["bias"] = params["layer_0"]["bias"].at[8:16].add(6.0)
        found[cell] = np.asarray(
            jax.jit(lambda p, net=net: gradient_norms(net, p, x, lambda h: jnp.sum(h * v)))(params)
        )
        assert found[cell].shape == (101,)
        np.testing.assert_allclose(found[cell][-1], jnp.linalg.norm(v), rtol=1e-5)
    bound = 0.9 ** np.arange(steps, -1, -1) * found["elman"][-1]
    assert (found["elman"] <= bound * (1 + 1e-5)).all() and bound[0] < 1e-3 * found["elman"][-1]
    assert found["lstm"][0] > 100 * found["elman"][0] and found["gru"][0] > 100 * found["elman"][0]


def test_gradient_norms_are_the_derivatives_of_a_rerun():
    """Against the gradient at h_t when the rest of the sequence is run from there."""
    net, x = Recurrent(H, 2, "lstm"), normal(0, B, T, D)
    params = random_params(net, x)
    norms = jax.jit(lambda params: gradient_norms(net, params, x, lambda h: jnp.sum(h**2)))(params)
    _, states = run(net, params, x[:, :3])

    def rest(h):
        after = net.apply({"params": params}, x[:, 3:], (states[0], (h, states[1][1])))[1]
        return jnp.sum(after[-1][0] ** 2)

    assert norms[2] == pytest.approx(float(jnp.linalg.norm(jax.jit(jax.grad(rest))(states[1][0]))), rel=1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="0 layers of 4 'lstm'"):
        Recurrent(4, 0).init(KEY, jnp.zeros((1, 1, 1)))
    with pytest.raises(ValueError, match="in one direction"):
        LanguageModel(Recurrent(4, bidirectional=True), 3, 4).init(KEY, jnp.zeros((1, 1), int))
    with pytest.raises(ValueError, match="the table is 5 wide, what it is multiplied by 4"):
        LanguageModel(Recurrent(4), 3, 5, tied=True).init(KEY, jnp.zeros((1, 1), int))
