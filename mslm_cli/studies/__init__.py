"""What composes several stages."""
