"""The commands of `python -m study`, by what they are for; each is a function that typer reads."""
