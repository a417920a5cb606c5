"""ragapp: a folder of documents becomes a library that answers with exact pages, on this machine and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragapp.rag import Rag
    from ragapp.types import Answer, Citation, Passage, Query

__version__ = "0.1.0"
__all__ = ["Answer", "Citation", "Passage", "Query", "Rag", "__version__"]


def __getattr__(name: str) -> object:
    """Load the names above on first use: `import ragapp` and `ragapp --help` must stay quick."""
    if name == "Rag":
        from ragapp.rag import Rag

        return Rag
    if name in __all__:
        from ragapp import types

        return getattr(types, name)
    raise AttributeError(f"module 'ragapp' has no attribute {name!r}")
