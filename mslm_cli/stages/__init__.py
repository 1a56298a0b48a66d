"""One module per subcommand: the whole story of that command, readable top to bottom."""
