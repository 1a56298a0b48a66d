"""Text and labelled sentences as the toolkit sees them, and how they are read."""
