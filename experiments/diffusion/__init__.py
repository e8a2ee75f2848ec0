"""Diffusion models: a fixed corruption and its learned reversal."""
