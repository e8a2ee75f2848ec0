"""Language: models of token sequences."""

from aigc_jax.methods.language.gpt import language_model
from aigc_jax.methods.language.recurrent import recurrent_language_model
from aigc_jax.methods.language.transformer import transformer_translator
from aigc_jax.methods.language.translation import translator

__all__ = ["language_model", "recurrent_language_model", "transformer_translator", "translator"]
