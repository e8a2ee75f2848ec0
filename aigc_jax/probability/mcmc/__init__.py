"""Markov chain Monte Carlo: a kernel is a pure function (key, x) -> x that leaves a density invariant, x any tree."""

from aigc_jax.probability.mcmc.ais import AIS, ais
from aigc_jax.probability.mcmc.gibbs import gibbs
from aigc_jax.probability.mcmc.kernel import Kernel, iterate

__all__ = ["AIS", "Kernel", "ais", "gibbs", "iterate"]
