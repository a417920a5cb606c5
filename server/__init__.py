"""The HTTP door: OpenAI's chat completions over a library, search, and the list of documents.

Knows ``rag``, ``types``, ``errors`` and ``config``; nothing of the command line, the evaluation or the write path.
"""

from __future__ import annotations

from ragapp.server.app import create_app, serve

__all__ = ["create_app", "serve"]
