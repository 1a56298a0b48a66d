"""mslm: make pre-trained language models sensitive to the terms of a domain."""

__version__ = "0.2.0"
