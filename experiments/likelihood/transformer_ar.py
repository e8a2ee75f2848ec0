"""Transformers over pixels and samples of sound: Image Transformer, iGPT over a palette; exact likelihood, draws, completions.

    aigc train transformer_ar --preset laptop --workdir runs/transformer_ar
    aigc train transformer_ar --preset sound --workdir runs/transformer_ar-sound
    aigc train transformer_ar --preset igpt-s --data files:DIR --palette palette.npy --workdir runs/igpt-s

The paper preset is the Image Transformer as released for CIFAR-10 (published: 2.90 bits per dimension), `imagenet` its setting
for 32 x 32 ImageNet (3.77). `igpt-s`, `-m`, `-l` are iGPT's, of 76.7, 455.5 and 1362.9 million parameters, with biases, norms,
start token and an output of its own; published as 76M, 455M and 1362M. Its palette comes from k-means, and so does one made by
`python -m aigc_jax.data.palettes files:DIR palette.npy`; without it colours are an even grid of 8 x 8 x 8. Evaluated are then
nats per index of the palette, which say nothing of the bits of the pictures themselves. iGPT's random crops are left out.

`laptop` draws digits of a class in 17 levels of grey, two blocks 64 wide, and reaches 1.73 bits per dimension. Pixels that are
independent given the class, by their frequencies, cost 2.17 there, and `pixelcnn --preset conditional` gets 1.71. `sound` is
the same network over codes of mu-law, with local attention and numbers for distances, on the tones of `wavenet --preset
laptop`: 4.64 and 4.91 bits per sample with two seeds, still falling, where adaptive linear prediction gives 5.48 and WaveNet
4.05.
"""

from typing import Literal

from aigc_jax.cli import run_file
from aigc_jax.data import load_pixels, load_recordings
from aigc_jax.evals.sound import code_length
from aigc_jax.experiment import Experiment, override
from aigc_jax.methods.likelihood.pixels import completions, pixels
from aigc_jax.methods.likelihood.waves import waves
from aigc_jax.networks.pixel_transformer import SIZES, PixelTransformer, SoundTransformer
from aigc_jax.optimizers import cosine, optimizer
from aigc_jax.probability.pixel_outputs import bernoulli, categorical
from aigc_jax.training.panels import samples, spectrograms

SYSTEMS = ["transformer_ar"]
PAPER = "Parmar et al. 2018, Image Transformer, arXiv:1802.05751; iGPT: Chen et al. 2020, Generative pretraining from pixels"
IGPT = dict(
    data="tfds:downsampled_imagenet/32x32", palette="uniform", levels=512, colours=1, dropout=0.0, batch_size=128,
    steps=1_000_000, warmup=10_000, beta2=0.95, eps=1e-8,
)  # fmt: skip
PRESETS = {
    "paper": {},
    "imagenet": dict(data="tfds:downsampled_imagenet/32x32", dropout=0.1),
    "igpt-s": dict(**IGPT, net="igpt-s", lr=3e-3),
    "igpt-m": dict(**IGPT, net="igpt-m", lr=3e-3),
    "igpt-l": dict(**IGPT, net="igpt-l", lr=1e-3),
    "sound": dict(
        data="tones", rate=8000, length=1024, classes=4, net="igpt-s", width=48, depth=2, heads=4, positions="distance",
        block=64, memory=64, dropout=0.0, scan=False, remat=False, half=False, steps=600, batch_size=8, lr=5e-3, warmup=50,
    ),
    "laptop": dict(
        data="digits", size=8, colours=1, levels=17, classes=10, net="igpt-s", width=64, depth=2, heads=4,
        positions="grid", dropout=0.1, scan=False, remat=False, half=False, steps=2_000, batch_size=32, lr=3e-3, warmup=100,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/bpd", value=1.733, tolerance=0.015, direction="min", device="2 CPU cores", minutes=2),
}


def experiment(
    *,
    data: str = "tfds:cifar10",
    size: int = 32,
    colours: int = 3,
    levels: int = 256,  # of a value; 2 are bits with a sigmoid, more a softmax; colours of a palette
    rate: int = 0,  # of recordings, in Hz; 0 is pictures
    length: int = 1024,  # samples of a piece of a recording
    classes: int = 0,  # the network is told the class
    palette: str = "",  # pictures as indices of colours: "uniform", or a file .npy; "" keeps their colours
    steps: int = 500_000,  # ours, as are the batch and the largest rate
    batch_size: int = 32,
    seed: int = 0,
    net: Literal["image", "igpt-s", "igpt-m", "igpt-l"] = "image",  # of `SIZES`; knobs below stand before it
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    positions: Literal["learned", "grid", "distance"] | None = None,
    block: int | None = None,  # of local attention; 0 is full attention
    memory: int | None = None,  # values before a block that it sees
    dropout: float = 0.3,  # as released
    scan: bool = True,  # one compiled block for any depth
    remat: bool = True,  # activations of a block again in the backward pass
    half: bool = True,  # compute in bfloat16
    lr: float = 5e-4,
    warmup: int = 4_000,  # steps, as released; then half a cosine to 0 where the release has the inverse root
    beta2: float = 0.98,  # as released
    eps: float = 1e-9,  # as released
    ema: float | None = None,  # decay of an average of the parameters, by which is evaluated
    temperature: float = 1.0,  # of draws
) -> Experiment:
    output = bernoulli() if levels == 2 else categorical(levels)
    fields = override(
        SIZES[net], width=width, depth=depth, heads=heads, positions=positions, block=block, memory=memory
    )
    tables = 1 if palette or rate else colours
    row = length if rate else size * tables
    network = PixelTransformer(
        levels, output.size, row if rate else size * row, tables, row, classes, **fields, dropout=dropout, scan=scan,
        remat=remat, dtype="bfloat16" if half else None,
    )  # fmt: skip
    tx = optimizer("adamw", cosine(lr, steps, min(warmup, steps - 1)), betas=(0.9, beta2), eps=eps)
    if rate:
        if palette or ema or levels == 2:
            raise ValueError(
                f"sound has no palette, no ema and more than 2 levels: not {palette!r}, {ema} and {levels}"
            )
        heard = waves(SoundTransformer(network), tx, levels=levels, temperature=temperature)
        code = code_length(lambda state, batch, key: heard.evaluate(state, batch, key)["nll"], levels)
        recordings = load_recordings(data, batch_size=batch_size, length=length, rate=rate, classes=classes)
        return Experiment(
            heard, recordings, steps, seed, evals={"code": code}, panels={"spectrograms": spectrograms(5)}
        )
    return Experiment(
        method=pixels(
            network, output, tx, classes=classes, ema=ema, temperature=temperature, palette=bool(palette)
        ),
        data=load_pixels(
            data, batch_size=batch_size, size=size, colours=colours, levels=levels, classes=classes, palette=palette
        ),
        steps=steps,
        seed=seed,
        panels={"samples": samples(64), "completions": completions()},
    )  # fmt: skip


if __name__ == "__main__":
    run_file(__file__)
