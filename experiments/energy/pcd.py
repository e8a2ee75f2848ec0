"""PCD: a restricted Boltzmann machine on binary digits, its log Z by annealed importance sampling.

    aigc train pcd --preset laptop --workdir runs/pcd

The laptop run reaches 22.8 nats a test digit (8 x 8, bits drawn from the greys); independent pixels give 27.3.
"""

from typing import Literal

import jax
import optax

from aigc_jax.cli import run_file
from aigc_jax.data import BINARIZED, load_data, to_unit
from aigc_jax.data import binarize as binarized
from aigc_jax.evals.likelihood import normalised, pixel_log_odds
from aigc_jax.experiment import Experiment
from aigc_jax.methods.energy.contrastive_divergence import flat, pcd
from aigc_jax.methods.energy.rbm import annealed_log_z, free_energy, ladder
from aigc_jax.training.panels import samples

SYSTEMS = ["pcd"]
PAPER = "Tieleman 2008, Training restricted Boltzmann machines using approximations to the likelihood gradient, ICML"
PRESETS = {
    "paper": {},
    "mnist": dict(data="files:binarized_mnist", binarize="threshold", labels=False),
    "laptop": dict(data="digits", size=8, hidden=128, steps=12_000, lr=0.05, rungs=(100, 800, 2000), sample_sweeps=500),
}
EXPECTED = {
    "laptop": dict(metric="ais/nats", value=22.8, tolerance=0.3, direction="min", device="2 CPU cores", minutes=2),
}


def experiment(
    *,
    data: str = "tfds:mnist",
    size: int = 28,
    labels: bool = True,  # only probes look at them; statically binarized MNIST has none
    binarize: Literal["dynamic", "threshold", "none"] = "dynamic",
    steps: int = 100_000,
    batch_size: int = 100,
    seed: int = 0,
    hidden: int = 500,
    chains: int = 100,  # as many as examples in a batch
    sweeps: int = 1,  # one full Gibbs update a step
    lr: float = 0.05,  # linearly to zero; the paper chooses the rate for each model and time budget
    momentum: float = 0.0,  # the paper has none
    weight_decay: float = 1e-4,  # of the weights alone; chosen in the same way
    init: float = 0.01,  # Hinton 2010, section 8
    rungs: tuple[int, ...] = (500, 4000, 10_000),  # Salakhutdinov and Murray 2008: up to 0.5, 0.9, 1
    ais_chains: int = 100,  # the same
    sample_sweeps: int = 1000,
) -> Experiment:
    decay = optax.add_decayed_weights(weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params))
    tx = optax.chain(decay, optax.sgd(optax.linear_schedule(lr, 0.0, steps), momentum=momentum or None))
    bits = to_unit() if binarize == "none" else binarized(binarize)
    kind = () if binarize == "none" else ("binary",)
    spec = {"image": ((size, size, 1), "float32", *kind)} | ({"label": ((), "int32", 10)} if labels else {})
    betas = ladder(rungs)
    anneal = jax.jit(lambda rbm, key, base: annealed_log_z(rbm, key, betas, ais_chains, base))
    return Experiment(
        method=pcd(tx, hidden=hidden, chains=chains, sweeps=sweeps, sample_sweeps=sample_sweeps, scale=init),
        data=load_data(
            data, batch_size=batch_size, spec=spec, train=bits, evaluate=bits, protocol=BINARIZED.get(binarize, "")
        ),
        steps=steps,
        seed=seed,
        evals={
            "ais": normalised(
                lambda state, batch, key: free_energy(state.params["rbm"], flat(batch["image"])),
                lambda run: anneal(run.state.params["rbm"], run.key, pixel_log_odds(run)),
                how=f"annealing {ais_chains} chains over {sum(rungs)} rungs from the pixel means of train",
            )
        },
        panels={"chains": samples(100)},
    )


if __name__ == "__main__":
    run_file(__file__)
