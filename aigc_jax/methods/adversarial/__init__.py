"""Adversarial models: a generator trained against a discriminator or a critic."""
