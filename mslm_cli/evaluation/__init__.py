"""Scores of predicted mentions against gold ones."""
