"""Sentences and tokens of running text, by the same rules for all stages."""
