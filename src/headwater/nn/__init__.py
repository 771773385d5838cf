"""Torch parts that several models share: inputs, encoder, objective with its losses and negatives, the training loop.

Importing this package loads no torch; its modules do.
"""
