"""The sides of a benchmark, each a script that runs in a Python of its own; ``harness`` runs one of them.

A stack is a file with a class ``Stack``; ``Stack`` in harness.py says what it has to fulfil. Beside a peer's script lie
its requirements, and ``constraints.txt`` for all. None of it is imported by ragapp: ``harness.py`` loads the file it is
told, and only that file needs the peer's packages.
"""
