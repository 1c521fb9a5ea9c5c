"""Functional MRI: images in, maps out."""
