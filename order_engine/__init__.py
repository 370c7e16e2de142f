"""The command line, `order-engine`: a file for each group of commands, `parts` for what they share."""
