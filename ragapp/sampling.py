"""What one request wants of the model, and how its next token is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragapp.errors import ConfigError

__all__ = ["Options", "Sampler"]

_NUCLEUS = 1024  # the likeliest tokens that are sorted first; a wider nucleus costs a sort of the whole vocabulary


@dataclass(frozen=True, slots=True)
class Options:
    """Raises ConfigError for values with which nothing can be written."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"No answer can be written with max_tokens {self.max_tokens}, temperature {self.temperature} "
                f"and top_p {self.top_p}.",
                "max_tokens is at least 1, temperature at least 0, and top_p above 0 and at most 1.",
            )

    @classmethod
    def of(cls, chat: object, stop: Sequence[str] | str | None, wishes: Mapping[str, Any]) -> Options:
        """A request's own wishes before the model's defaults, which are attributes of ``chat``."""
        known = {"max_tokens", "max_new_tokens", "temperature", "top_p", "seed"}
        if unknown := sorted(wishes.keys() - known):
            raise ConfigError(
                f"The model has no option {', '.join(unknown)}.", f"It takes stop, {', '.join(sorted(known))}."
            )
        given = {name: value for name, value in wishes.items() if value is not None}

        def pick(name: str, otherwise: Any) -> Any:
            return given.get(name, getattr(chat, name, otherwise))

        seed = pick("seed", None)
        try:
            return cls(
                max_tokens=int(given.get("max_tokens", pick("max_new_tokens", 512))),
                temperature=float(pick("temperature", 0.0)),
                top_p=float(pick("top_p", 1.0)),
                seed=None if seed is None else int(seed),
                stop=tuple(each for each in ((stop,) if isinstance(stop, str) else stop or ()) if each),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"An option of the model is no number: {error}.",
                "max_tokens and seed are whole numbers, temperature and top_p numbers.",
            ) from error


class Sampler:
    """Draws with a generator of its own, so that seeds neither disturb others nor are disturbed.

    Every token takes one random number, and none when the temperature is 0: the same seed gives the same text for the
    same scores, whether or not tokens were guessed beforehand and whoever is written beside it. Scores that differ by
    rounding, as in another batch, give the same token unless the number falls on the border of two.
    """

    def __init__(self, options: Options) -> None:
        self.temperature, self.top_p = options.temperature, options.top_p
        self._dice: Any = None
        if self.temperature > 0:
            import torch

            self._dice = torch.Generator()
            if options.seed is None:
                self._dice.seed()
            else:
                self._dice.manual_seed(options.seed % 2**63)

    def draw(self, scores: Any) -> int:
        """A token for the scores ``[vocabulary]`` of what may come next: the likeliest, or nucleus sampling.

        The nucleus is the fewest tokens whose chances together reach ``top_p`` (Holtzman et al. 2020).
        """
        if self._dice is None:
            return int(scores.argmax())
        import torch

        # The maximum goes off first, so that a tiny temperature gives no infinity.
        scores = scores.float().cpu()
        chances = torch.softmax((scores - scores.max()).double() / self.temperature, dim=-1)
        order = None
        if self.top_p < 1:
            chances, order = self._nucleus(chances)
        heights = chances.cumsum(-1)
        point = torch.rand(1, generator=self._dice, dtype=torch.float64) * heights[-1]
        place = min(int(torch.searchsorted(heights, point, right=True)), int((chances > 0).nonzero()[-1]))
        return place if order is None else int(order[place])

    def _nucleus(self, chances: Any) -> tuple[Any, Any]:
        ranked, order = chances.topk(min(_NUCLEUS, len(chances)))
        if float(ranked.sum()) < self.top_p and len(ranked) < len(chances):
            ranked, order = chances.sort(descending=True, stable=True)
        kept = int((ranked.cumsum(-1) - ranked < self.top_p).sum())
        return ranked[:kept], order[:kept]
