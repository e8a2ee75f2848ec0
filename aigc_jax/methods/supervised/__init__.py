"""Learning with labels."""

from aigc_jax.methods.supervised.classification import classifier
from aigc_jax.methods.supervised.distillation import distilled
from aigc_jax.methods.supervised.mixing import Mix

__all__ = ["Mix", "classifier", "distilled"]
