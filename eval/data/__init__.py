"""The sample documents that ``ragapp demo`` ingests: their Markdown sources, the PDFs, and the script between them."""

from pathlib import Path


def samples() -> list[Path]:
    """The paths of the sample PDFs, in the order of their names."""
    return sorted(Path(__file__).parent.glob("*.pdf"))
