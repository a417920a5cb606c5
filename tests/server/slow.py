"""Parts of a user's own that take their time, or fail, where they are told to."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence

from ragapp.embedders import HashingEmbedder, Vectors
from ragapp.types import Passage

NAME = "tests.server.slow:SlowEmbedder"
OWN = "tests.server.slow:OwnEmbedder"
TORN = "tests.server.slow:TornReranker"
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


class OwnEmbedder(HashingEmbedder):
    """A user's own, with a setting that makes its vectors what they are. Set to "rude" it logs as one should not, and
    leaves a thread behind that does not end."""

    def __init__(self, prefix: object) -> None:
        super().__init__()
        self._prefix = str(prefix)
        self.fingerprint = f"own-{prefix}"

    def embed_documents(self, texts: list[str]) -> Vectors:
        if self._prefix == "rude":
            logging.getLogger("own").warning("%d texts", "three")
            threading.Thread(target=time.sleep, args=(600,)).start()
        return super().embed_documents([f"{self._prefix} {text}" for text in texts])


class TornReranker:
    """One that cannot read its file any more, and says where that is."""

    name = "torn"

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        raise OSError("/srv/models/torn/weights.bin is damaged")
