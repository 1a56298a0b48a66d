"""Domain-specific terms: extraction from text, ranking, and matching."""
