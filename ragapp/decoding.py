"""The loops that write answers: several at once by our own forward pass, or one by one by transformers' ``generate``.

``Batch`` lets requests join between two tokens and leave at any (continuous batching, Yu et al. 2022, "Orca"): all that
run share each product with a matrix, which is what a token costs. A newcomer's prompt is read in steps, one between
two tokens of the others. Tokens guessed from the prompt are checked in the same product as the next token (``lookup``).

``OneByOne`` is for models, and devices, that our forward pass does not know; it guesses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragapp import modelfiles
from ragapp.llama import Cache, Llama
from ragapp.lookup import Lookup
from ragapp.prefixes import STEP, Prefixes
from ragapp.queueing import Line, Request

__all__ = ["Batch", "OneByOne"]

_ROWS = 16  # tokens computed together, guesses included; beyond, a product costs more than it saves
_KEPT_BYTES = 1 << 30  # of prompts that were read, at most; less where memory is short


class _Sequence:
    """One request at work: ``read`` tokens of its prompt are in the cache, ``next`` is written and not yet in it."""

    def __init__(self, request: Request, cache: Cache, lookup_tokens: int) -> None:
        self.request, self.cache = request, cache
        self.lookup = Lookup(request.prompt, lookup_tokens) if lookup_tokens else None
        self.next: int | None = None

    @property
    def reading(self) -> bool:
        return self.next is None

    def guess(self, room: int) -> list[int]:
        left = self.request.most - len(self.request.written) - 1
        return self.lookup.guess(min(room, left)) if self.lookup else []

    def accept(self, scores: Any, likeliest: Sequence[int] | None, guess: list[int]) -> None:
        """Draw from each row of scores until a guess was wrong. What the cache holds of wrong ones is written over.

        Every token is drawn as it would have been without guesses, so the text is the same.
        """
        before, right = self.cache.length - len(guess), 0
        for row, guessed in enumerate([*guess, None]):
            token = self.request.sampler.draw(scores[row]) if likeliest is None else likeliest[row]
            self.write(token)
            if token != guessed or self.request.over:
                break
            right += 1
        self.cache.length = before + right
        self.request.guessed += len(guess)
        self.request.accepted += right
        if self.lookup:
            self.lookup.learn(len(guess), right)

    def write(self, token: int) -> None:
        self.request.put(token)
        self.next = token
        if self.lookup:
            self.lookup.add(token)


class Batch:
    """Writes up to ``most`` answers together; ``work`` is what a ``Line`` runs."""

    def __init__(self, model: Llama, most: int = 4, lookup_tokens: int = 8) -> None:
        self.model, self.most, self.lookup_tokens = model, most, lookup_tokens
        self.prefixes = Prefixes(_room_for_prefixes)

    def work(self, line: Line) -> None:
        running: list[_Sequence] = []
        while (new := line.take(self.most - len(running), self._fits)) is not None:
            for request in new:
                self._begin(line, running, request)
            self._leave(line, running)
            if reading := next((sequence for sequence in running if sequence.reading), None):
                self._read(line, running, reading)
            if writing := [sequence for sequence in running if not sequence.reading]:
                self._write(line, running, writing)
            self._leave(line, running)

    def _fits(self, request: Request, running: Sequence[Request]) -> bool:
        """Whether half of what is free is enough. A cache takes its memory as it is filled, so of what is free the rest
        of those that are running is spoken for."""
        free = modelfiles.free_memory()
        if free is None:
            return True
        spoken_for = sum(self.model.cache_bytes(_to_come(each)) for each in running)
        return self.model.cache_bytes(_room(request)) < (free - spoken_for) / 2

    def _begin(self, line: Line, running: list[_Sequence], request: Request) -> None:
        try:
            sequence = _Sequence(request, self.model.cache(_room(request)), self.lookup_tokens)
            kept, length = self.prefixes.find(request.prompt)
            if isinstance(kept, Cache):
                sequence.cache.take(kept, length)
                request.cached = length
            running.append(sequence)
        except Exception as error:  # noqa: BLE001 - torch raises RuntimeError and MemoryError, others may follow
            self._fail(line, running, None, request, error)

    def _read(self, line: Line, running: list[_Sequence], sequence: _Sequence) -> None:
        """One step of a prompt; behind its last one the first token is known."""
        request, start = sequence.request, sequence.cache.length
        end = min(len(request.prompt), start - start % STEP + STEP)
        try:
            scores = self.model.forward([(sequence.cache, request.prompt[start:end])])
            if end == len(request.prompt):
                self.prefixes.keep(request.prompt, sequence.cache)
                sequence.write(request.sampler.draw(scores[0]))
        except Exception as error:  # noqa: BLE001 - the readers' threads translate and raise whatever it is
            self._fail(line, running, sequence, request, error)

    def _write(self, line: Line, running: list[_Sequence], writing: list[_Sequence]) -> None:
        """One or more tokens for each; when that fails, each alone, so that one cannot take the others with it."""
        room = max(0, _ROWS - len(writing)) // len(writing)
        guesses = [sequence.guess(room) for sequence in writing]
        pieces = [
            (sequence.cache, [sequence.next or 0, *guess]) for sequence, guess in zip(writing, guesses, strict=True)
        ]
        try:
            scores = self.model.forward(pieces, last=False)
            likeliest = scores.float().argmax(-1).tolist()  # five times as fast as in bfloat16
        except Exception as error:  # noqa: BLE001 - as above
            if len(writing) == 1:
                self._fail(line, running, writing[0], writing[0].request, error)
            else:
                for sequence in writing:
                    self._write(line, running, [sequence])
            return
        row = 0
        for sequence, guess in zip(writing, guesses, strict=True):
            rows = slice(row, row + 1 + len(guess))
            greedy = sequence.request.options.temperature == 0
            try:
                sequence.accept(scores[rows], likeliest[rows] if greedy else None, guess)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(line, running, sequence, sequence.request, error)
            row = rows.stop

    def _leave(self, line: Line, running: list[_Sequence]) -> None:
        for sequence in [sequence for sequence in running if sequence.request.over]:
            running.remove(sequence)
            line.drop(sequence.request)

    def _fail(
        self, line: Line, running: list[_Sequence], sequence: _Sequence | None, request: Request, error: Exception
    ) -> None:
        if sequence in running:
            running.remove(sequence)
        # Its traceback would keep the tensors alive that did not fit.
        line.drop(request, error.with_traceback(None))
        if isinstance(error, MemoryError | RuntimeError):
            self.prefixes.clear()


class OneByOne:
    """transformers' own ``generate``, one request after the other."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def work(self, line: Line) -> None:
        while (new := line.take(1)) is not None:
            for request in new:
                error: Exception | None = None
                try:
                    self._generate(line, request)
                except Exception as raised:  # noqa: BLE001 - the reader's thread translates and raises it
                    error = raised.with_traceback(None)
                line.drop(request, error)

    def _generate(self, line: Line, request: Request) -> None:
        import torch

        def over(_ids: Any, _scores: Any) -> Any:
            return torch.full((1,), request.over, device=prompt.device, dtype=torch.bool)

        def draw(_ids: Any, scores: Any) -> Any:
            chosen = torch.full_like(scores, float("-inf"))
            chosen[0, request.sampler.draw(scores[0])] = 0.0
            return chosen

        greedy = request.options.temperature == 0
        with torch.inference_mode():
            prompt = torch.tensor([request.prompt], device=self.network.device)
            ends = sorted(request.ends)
            self.network.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                streamer=_Streamer(line, request),
                stopping_criteria=[over],
                logits_processor=[] if greedy else [draw],
                max_new_tokens=request.most,
                do_sample=False,  # the sampler has drawn already
                eos_token_id=ends or None,
                pad_token_id=ends[0] if ends else 0,
            )


class _Streamer:
    """What ``generate`` hands its tokens to: the prompt first, then what it has written."""

    def __init__(self, line: Line, request: Request) -> None:
        self.line, self.request = line, request
        self.prompt_seen = False

    def put(self, tokens: Any) -> None:
        self.line.touch()
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        for token in tokens.flatten().tolist():
            if not self.request.over:
                self.request.put(token)

    def end(self) -> None:
        """The request is finished by the loop, also after an error."""


def _room(request: Request) -> int:
    return len(request.prompt) + request.most


def _to_come(request: Request) -> int:
    """Tokens that its cache has not been filled with; all of them while the prompt is being read."""
    return request.most - len(request.written) if request.written else _room(request)


def _room_for_prefixes() -> int:
    free = modelfiles.free_memory()
    return _KEPT_BYTES if free is None else min(_KEPT_BYTES, free // 4)
