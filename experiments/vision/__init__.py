"""Experiments of self-supervised vision."""
