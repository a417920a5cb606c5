"""``python -m ragapp`` is the command ``ragapp``."""

from ragapp.cli import main

main()
