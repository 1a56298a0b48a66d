"""Masks: which tokens of a sequence are predicted, and what replaces them."""
