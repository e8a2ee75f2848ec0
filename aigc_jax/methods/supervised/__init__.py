"""Learning with labels."""

from aigc_jax.methods.supervised.classification import classifier
from aigc_jax.methods.supervised.distillation import distilled
from aigc_jax.methods.supervised.mixing import Mix
from aigc_jax.methods.supervised.sequences import regressor, tagger

__all__ = ["Mix", "classifier", "distilled", "regressor", "tagger"]
