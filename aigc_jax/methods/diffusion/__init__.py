"""Diffusion: a fixed corruption and its learned reversal."""
