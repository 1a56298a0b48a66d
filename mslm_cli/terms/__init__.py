"""Domain-specific terms: finding them in text, ranking them, and matching them back."""
