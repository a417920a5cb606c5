"""What one answer may cost: questions put to the model, tokens it writes, seconds. Standard library only."""

from __future__ import annotations

import threading
import time


class Budget:
    """Counted down while one question is answered; safe to share between threads.

    One call is kept for the answer itself, so steps that help it can never leave nothing to write it with. The clock
    starts when the budget is made.
    """

    def __init__(self, calls: int = 8, tokens: int = 4096, seconds: float = 600.0) -> None:
        self.calls = calls
        self.tokens = tokens
        self.deadline = time.monotonic() + seconds
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be begun but the answer."""
        return self.calls <= 1 or self.tokens <= 0 or time.monotonic() >= self.deadline

    def grant(self, tokens: int) -> int:
        """How many tokens one more helping call may write, at most ``tokens``; 0 when there may be none.

        A granted call is counted at once, its tokens are taken off; ``give_back`` returns what it did not write.
        """
        with self._lock:
            if self.is_over:
                return 0
            granted = min(tokens, self.tokens)
            self.calls -= 1
            self.tokens -= granted
            return granted

    def give_back(self, tokens: int) -> None:
        """Return tokens that a call was granted and did not write."""
        with self._lock:
            self.tokens += max(0, tokens)
