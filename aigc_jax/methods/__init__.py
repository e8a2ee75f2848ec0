"""Techniques, one file a family, in the chapters of the field. A chapter never imports another chapter."""
