"""What is done to a library while everything it writes is recorded: `python work.py LIBRARY MARKER`.

Makes a library, fills and changes it, removes from it, mends, and publishes its caches. After each step that has ended
the number of the step is appended to the marker file, so that a replay knows what must be there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ragapp.catalog import Catalog
from ragapp.errors import LibraryError
from ragapp.lexicon import Lexicon
from ragapp.testing import document_of
from ragapp.vectors import VectorIndex
from tests.libraries import FINGERPRINT, open_catalog, put

ONE = document_of("Apples are red.", "Pears are green. " * 40, name="one.pdf")
TWO = document_of("Boats float.", "Rafts do too.", name="two.pdf")
THREE = document_of("The pump moves water. " * 60, name="three.pdf")
CHANGED = document_of("Apples are yellow.", "Pears are green. " * 40, name="one.pdf")

# What the library holds after each step, by file name.
STATES = (
    {},
    {"one.pdf": ONE},
    {"one.pdf": ONE, "two.pdf": TWO},
    {"one.pdf": CHANGED, "two.pdf": TWO},
    {"one.pdf": CHANGED, "two.pdf": TWO},
    {"one.pdf": CHANGED, "two.pdf": TWO, "three.pdf": THREE},
    {"one.pdf": CHANGED, "three.pdf": THREE},
    {"one.pdf": CHANGED, "three.pdf": THREE},
    {"one.pdf": CHANGED, "three.pdf": THREE},
)


def publish(catalog: Catalog) -> None:
    for cache in (VectorIndex(catalog, FINGERPRINT), Lexicon(catalog)):
        cache.publish()
        cache.close()


def main(library: Path, marker: Path) -> None:
    steps = iter(range(len(STATES)))

    def done() -> None:
        with marker.open("a") as file:
            file.write(f"{next(steps)}\n")

    catalog = open_catalog(library)
    done()
    put(catalog, ONE, "one.pdf")
    done()
    put(catalog, TWO, "two.pdf")
    done()
    put(catalog, CHANGED, "one.pdf")
    done()
    publish(catalog)
    done()
    put(catalog, THREE, "three.pdf")
    done()
    catalog.erase(["file:///docs/two.pdf"])
    done()
    publish(catalog)
    catalog.rewrite()
    done()
    catalog.close()
    done()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (LibraryError, OSError) as error:
        sys.stdout.write(f"{getattr(error, 'message', error)}|{getattr(error, 'hint', '')}")
        sys.exit(9)
