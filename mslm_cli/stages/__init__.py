"""One module per subcommand, readable from top to bottom."""
