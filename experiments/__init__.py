"""Experiments: one file each, in the chapters of the field; the file is the name."""
