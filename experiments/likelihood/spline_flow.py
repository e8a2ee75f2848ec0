"""Neural spline flow: rational-quadratic splines, autoregressive or coupled, on densities of the plane and tables.

    aigc train spline_flow --preset laptop --workdir runs/spline
    aigc train spline_flow --data files:DIR#TABLE --columns 6 --workdir runs/spline-table     # `x` standardized

The laptop run, a checkerboard of density 1/8, reaches 2.19 nats a test point; its entropy is ln 8 = 2.08, one Gaussian gives
3.12. The tables of the paper are not among the data at hand: its knobs were not tried on them.
"""

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_data
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.flow import flow
from aigc_jax.networks.maf import spline_flow
from aigc_jax.optimizers import cosine
from aigc_jax.training.panels import density

SYSTEMS = ["flow"]
PAPER = "Durkan, Bekasov, Murray and Papamakarios 2019, Neural spline flows, arXiv:1906.04032"
PRESETS = {
    "paper": {},
    "coupling": dict(coupling=True),
    "laptop": dict(
        data="toy:checkerboard", columns=2, validate="", steps=3_000, batch_size=256, layers=3, hidden=(64, 64), lr=2e-3,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/nll", value=2.19, tolerance=0.02, direction="min", device="2 CPU cores", minutes=1),
}


def experiment(
    *,
    data: str = "files:power",
    columns: int = 6,  # of the table `x`
    validate: str = "valid",  # the split by which the best of the states evaluated is chosen; "" takes the last
    steps: int = 400_000,  # appendix B, table 5: POWER
    batch_size: int = 512,  # table 5
    seed: int = 0,
    coupling: bool = False,  # RQ-NSF (C) instead of (AR)
    layers: int = 10,  # table 5
    hidden: tuple[int, ...] = (256, 256),  # table 5: as residual blocks, which this conditioner has not
    bins: int = 8,  # table 5
    bound: float = 3.0,  # table 5: the splines are on [-bound, bound]
    temperature: float = 1.0,
    lr: float = 5e-4,  # table 5: Adam, along a cosine to 0
    clip: float = 5.0,  # appendix B: of the norm of the gradient
) -> Experiment:
    bijector = spline_flow(columns, layers, hidden, bins, bound, coupling)
    tx = optax.chain(optax.clip_by_global_norm(clip), optax.adam(cosine(lr, steps)))
    return Experiment(
        method=flow(bijector, tx, temperature=temperature),
        data=load_data(data, batch_size=batch_size, spec={"x": ((columns,), "float32")}),
        steps=steps,
        seed=seed,
        best=(validate, "nll") if validate else None,
        panels={"density": density()} if columns == 2 else {},
    )


if __name__ == "__main__":
    run_file(__file__)
