"""An embedder that takes its time, or kills, for documents that say so."""

from __future__ import annotations

import os
import time

from ragapp.embedders import HashingEmbedder, Vectors

NAME = "tests.server.slow:SlowEmbedder"
CALL_S = 0.25


class SlowEmbedder(HashingEmbedder):
    """A hashing embedder that needs CALL_S for each call with a text that holds "slowly", and ends the process, as a
    kill would, at one that holds "deadly"."""

    def embed_documents(self, texts: list[str]) -> Vectors:
        if any("deadly" in text for text in texts):
            os._exit(9)
        if any("slowly" in text for text in texts):
            time.sleep(CALL_S)
        return super().embed_documents(texts)
