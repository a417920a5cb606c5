"""Where spans of a document's text stand on its pages, as rectangles.

Words that OCR has read have their places stored; for all others the file itself must be asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ragapp.catalog import Catalog
from ragapp.ingest.boxes import PageSpan, word_boxes
from ragapp.types import Box

MOST = 5000  # spans whose places are remembered, two kilobytes each

Ask = Callable[[Sequence[PageSpan]], Sequence[Sequence[Box]]]


def boxes_of_spans(
    catalog: Catalog, document_id: str, spans: Sequence[tuple[int, int]], ask: Ask
) -> list[tuple[Box, ...]]:
    """The rectangles of each span, page by page.

    ``ask`` gives those of parts of pages as the file has them, or none at all; it is called once at most.
    """
    found: list[list[Box]] = [[] for _ in spans]
    asked: list[tuple[int, PageSpan]] = []
    for nth, pages in enumerate(catalog.pages_of(document_id, spans)):
        start, end = spans[nth]
        for page, text in pages:
            left, right = max(start, page.start) - page.start, min(end, page.end) - page.start
            # The line end that closes every page's text is ours, not the page's.
            right = min(right, len(text) - 1)
            if right > left and page.words:
                found[nth] += word_boxes(page, left, right)
            elif right > left:
                asked.append((nth, PageSpan(page.number, left, right, text[left:right], page.runs)))
    if asked:
        for (nth, _), boxes in zip(asked, ask([span for _, span in asked]), strict=False):
            found[nth] += boxes
    return [tuple(sorted(boxes, key=lambda box: box.page)) for boxes in found]


class Places:
    """What files have said of spans, the latest ``most`` of them: searches find the same passages again and again, and
    a page has to be read whole for each. Safe to share between threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[object, ...], Sequence[Box]] = OrderedDict()

    def of(self, file: object, spans: Sequence[PageSpan], ask: Ask) -> list[Sequence[Box]]:
        """The rectangles of each span; ``ask`` is called for those that are not known. ``file`` is one state of one."""
        # A page's runs may be longer than its text: they are known by their hash.
        keys = [(file, span.number, span.start, span.end, hash((span.expected, span.runs))) for span in spans]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        unknown = {key: span for key, span in zip(keys, spans, strict=True) if key not in known}
        if unknown:
            known.update(zip(unknown, ask(list(unknown.values())), strict=True))
        with self._lock:
            for key, boxes in known.items():
                self._known[key] = boxes
                self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return [known[key] for key in keys]
