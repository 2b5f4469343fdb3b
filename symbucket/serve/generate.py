"""Writing with a language model: greedily, by drawing, or with a beam."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.checks import check_integer, check_number
from symbucket.errors import InvalidArgumentError
from symbucket.serve.bundle import Bundle
from symbucket.serve.session import Session
from symbucket.types import Array

_TINY = 1e-30


def generate(
    bundle: Bundle,
    prompt: Sequence[int],
    length: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    seed: int | None = None,
    probabilities: bool = True,
    output: str | None = None,
) -> Iterator[int]:
    """Yield the tokens that a language model writes after a prompt, one by one.

    Args:
        bundle: a network that reads tokens and returns scores of the next one for each step,
            (steps, vocabulary); exported with ``dynamic_length`` and ``carry_states``.
        prompt: the tokens to go on from, one or more.
        length: how many tokens to write at most.
        temperature: 0 takes the likeliest token; above it tokens are drawn, more evenly the higher
            it is.
        top_k: draw among so many of the likeliest tokens.
        top_p: draw among the likeliest tokens that have this probability together.
        stop: tokens after which nothing more is written; they are yielded.
        seed: of the numbers that are drawn; None for others in every call.
        probabilities: the scores are probabilities (a softmax's); else logits.
        output: the name of the scores, if the network has several outputs.
    """
    check_integer(length, "length", 0)
    check_number(temperature, "temperature", 0.0)
    if top_k is not None:
        check_integer(top_k, "top_k", 1)
    if not 0.0 < check_number(top_p, "top_p") <= 1.0:
        raise InvalidArgumentError(f"top_p is {top_p!r}; expected a number above 0, at most 1")
    session = bundle.session()
    tokens = _prompt(prompt)
    return _written(
        session,
        tokens,
        length,
        _Chooser(temperature, top_k, top_p, np.random.default_rng(seed)),
        frozenset(stop),
        _Scores(probabilities, output),
    )


def _written(
    session: Session,
    piece: Array,
    length: int,
    chooser: _Chooser,
    stop: frozenset[int],
    scores: _Scores,
) -> Iterator[int]:
    for _ in range(length):
        token = chooser(scores.last(session(piece)))
        yield token
        if token in stop:
            return
        piece = np.array([token])


@dataclass(frozen=True)
class Hypothesis:
    """Sequence that a beam search wrote, without the prompt, and its logarithmic probability."""

    tokens: tuple[int, ...]
    log_probability: float

    def score(self, length_penalty: float) -> float:
        """Return the logarithmic probability divided by the length to this power."""
        return float(self.log_probability / max(1, len(self.tokens)) ** length_penalty)

    def best_score(self, length_penalty: float, length: int) -> float:
        """Return what ``score`` can become at most as the sequence grows to ``length`` tokens."""
        if length_penalty <= 0:
            return self.score(length_penalty)
        return float(self.log_probability / length**length_penalty)


def beam_search(
    bundle: Bundle,
    prompt: Sequence[int],
    length: int,
    *,
    beams: int = 4,
    stop: Collection[int] = (),
    length_penalty: float = 0.0,
    probabilities: bool = True,
    output: str | None = None,
) -> list[Hypothesis]:
    """Return the best continuations of a prompt that a beam of so many finds, the best first.

    ``length_penalty`` is the power of the length that divides logarithmic probabilities: 0 prefers
    short continuations, 1 compares the mean of a token. The other arguments are those of
    ``generate``. ``beams`` is at most the bundle's batch size.
    """
    check_integer(length, "length", 1)
    check_integer(beams, "beams", 1)
    check_number(length_penalty, "length_penalty")
    ends, scores = frozenset(stop), _Scores(probabilities, output)
    session = bundle.session()
    alive = [Hypothesis((), 0.0)]
    ended: list[Hypothesis] = []
    answers = session.run([_prompt(prompt)])
    for step in range(length):
        rows = np.stack([scores.last(answer) for answer in answers])
        totals = rows + np.array([[one.log_probability] for one in alive])
        parents, tokens = np.unravel_index(
            np.argsort(-totals, axis=None, kind="stable")[: 2 * beams], totals.shape
        )
        following: list[tuple[int, Hypothesis]] = []
        for parent, token in zip(parents.tolist(), tokens.tolist()):
            one = Hypothesis((*alive[parent].tokens, token), float(totals[parent, token]))
            if token in ends:
                ended.append(one)
            elif len(following) < beams:
                following.append((parent, one))
        alive = [one for _, one in following]
        finished = len(ended) >= beams and (
            not alive
            or _best(ended, length_penalty)[beams - 1].score(length_penalty)
            >= max(one.best_score(length_penalty, length) for one in alive)
        )
        if finished or step == length - 1 or not alive:
            break
        session.select([parent for parent, _ in following])
        answers = session.run([np.array([one.tokens[-1]]) for one in alive])
    return _best([*ended, *alive], length_penalty)[:beams]


def _best(hypotheses: Sequence[Hypothesis], penalty: float) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda one: -one.score(penalty))


def _prompt(prompt: Any) -> Array:
    tokens = np.asarray(prompt)
    if tokens.ndim != 1 or not tokens.size:
        raise InvalidArgumentError(
            f"the prompt has shape {tokens.shape}; expected one token or more, in a row"
        )
    return tokens


@dataclass(frozen=True)
class _Scores:
    """Finds the scores of the next token in an answer."""

    probabilities: bool
    output: str | None

    def last(self, answer: dict[str, Array]) -> Array:
        """Return logarithmic probabilities of the token after the last step."""
        if self.output is None and len(answer) != 1:
            raise InvalidArgumentError(
                f"the network has the outputs {', '.join(answer)}; output= says which are scores"
            )
        name = self.output or next(iter(answer))
        if name not in answer or answer[name].ndim != 2:
            shapes = ", ".join(f"{n} {a.shape}" for n, a in answer.items())
            raise InvalidArgumentError(
                f"the scores of a language model are (steps, vocabulary); the outputs are {shapes}"
            )
        row = answer[name][-1].astype(np.float64)
        if self.probabilities:
            return np.asarray(np.log(np.maximum(row, _TINY)))
        row -= row.max()
        return np.asarray(row - np.log(np.exp(row).sum()))


@dataclass(frozen=True)
class _Chooser:
    """Chooses the next token."""

    temperature: float
    top_k: int | None
    top_p: float
    rng: np.random.Generator

    def __call__(self, scores: Array) -> int:
        """Return a token, by the logarithmic probabilities of all."""
        if self.temperature == 0.0:
            return int(scores.argmax())
        order = np.argsort(-scores, kind="stable")[: self.top_k]
        scaled = scores[order] / self.temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        # The first token that reaches top_p belongs to them.
        count = int(np.searchsorted(np.cumsum(weights), self.top_p - 1e-12)) + 1
        weights = weights[:count] / weights[:count].sum()
        return int(self.rng.choice(order[:count], p=weights))
