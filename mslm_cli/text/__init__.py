"""Sentences and words of running text, by one rule for all that reads it."""
