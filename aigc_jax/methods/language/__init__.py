"""Language: models of token sequences."""

from aigc_jax.methods.language.gpt import language_model

__all__ = ["language_model"]
