"""Learning with labels."""

from aigc_jax.methods.supervised.classification import classifier

__all__ = ["classifier"]
