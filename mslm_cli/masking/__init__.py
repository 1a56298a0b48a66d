"""Masks: which tokens of a sequence are predicted, and what stands in their place."""
