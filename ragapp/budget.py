"""What one answer may cost: questions put to the model, tokens it writes, seconds. Standard library only."""

from __future__ import annotations

import threading
import time

HELP_SHARE = 0.5  # of the tokens and of the time, which steps that help an answer may use; the rest is the answer's


class Budget:
    """Counted down while one question is answered; safe to share between threads. The clock starts when it is made.

    One call is kept for the answer itself, and half of the tokens and of the time: steps that help it can never leave
    nothing to write it with. ``calls`` and ``tokens`` are what is left.
    """

    def __init__(self, calls: int = 8, tokens: int = 4096, seconds: float = 600.0) -> None:
        self._all = (calls, tokens, seconds)
        self.calls = calls
        self.tokens = tokens
        now = time.monotonic()
        self.deadline = now + seconds
        self.help_deadline = now + HELP_SHARE * seconds
        self._kept = tokens - int(HELP_SHARE * tokens)
        self._lock = threading.Lock()

    def renewed(self) -> Budget:
        """The same budget with nothing used, and the clock at its start."""
        return Budget(*self._all)

    @property
    def is_late(self) -> bool:
        """Whether the time that steps may use besides the answer has passed."""
        return time.monotonic() >= self.help_deadline

    @property
    def is_over(self) -> bool:
        """Whether no helping call may be begun."""
        return self.calls <= 1 or self.tokens <= self._kept or self.is_late

    def grant(self, tokens: int) -> int:
        """How many tokens one more helping call may write, at most ``tokens``; 0 when there may be none.

        A granted call is counted at once, its tokens are taken off; ``give_back`` returns what it did not write.
        """
        with self._lock:
            if self.is_over or tokens <= 0:
                return 0
            granted = min(tokens, self.tokens - self._kept)
            self.calls -= 1
            self.tokens -= granted
            return granted

    def grant_answer(self) -> int:
        """How many tokens the answer may write: all that are left. Its call is counted; it is never refused."""
        with self._lock:
            granted = max(0, self.tokens)
            self.calls -= 1
            self.tokens -= granted
            return granted

    def give_back(self, tokens: int) -> None:
        """Return tokens that a call was granted and did not write."""
        with self._lock:
            self.tokens += max(0, tokens)
