"""Subcommands of `vitpose-mm`: each module has its options and imports the rest when it runs."""
