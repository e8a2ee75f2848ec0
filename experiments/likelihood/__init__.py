"""Likelihood models: an exact log p(x), or a bound on it."""
