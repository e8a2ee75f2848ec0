"""Densities, divergences and Markov chains: what several chapters use, as pure functions that know no network."""
