"""Scores of predicted mentions against gold mentions."""
