"""Architectures as small Linen dataclasses, one file a family; `layers` holds what they are made of."""
