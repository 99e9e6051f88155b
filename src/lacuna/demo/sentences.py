"""Sentences whose words carry a sentiment. In: a generator and a wished score. Out: a sentence, its score in [-3, 3].

A small grammar of reviews: opinion words of graded strength, intensifiers, negations, contrasts, neutral statements.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ADJECTIVES = {
    3: "wonderful brilliant fantastic superb outstanding magnificent",
    2: "great delightful charming moving impressive lovely",
    1: "good nice pleasant decent enjoyable likeable",
    -1: "weak dull bland flat forgettable predictable",
    -2: "bad boring annoying clumsy disappointing tedious",
    -3: "terrible awful horrible dreadful disgusting unbearable",
}
VERBS = {
    3: "loved adored",
    2: "enjoyed admired",
    1: "liked appreciated",
    -1: "doubted questioned",
    -2: "disliked regretted",
    -3: "hated despised",
}
INTENSIFIERS = {1.35: "really very so", 1.15: "quite truly", 0.75: "rather fairly"}
COUNTED = "film movie story plot ending script cast comedy drama trailer book show"  # what "a" can stand before
NOUNS = f"{COUNTED} acting music dialogue camerawork"
NEUTRAL = (
    "We watched the {noun} on {day}.",
    "The {noun} started at {hour} in the evening.",
    "I read about the {noun} on {day}.",
    "They talk about the {noun} for {hour} minutes.",
    "My sister told me about the {noun}.",
    "The {noun} is from {day} last week.",
    "There is a {noun} and then another {noun2}.",
    "You can find the {noun} next to the {noun2}.",
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
HOURS = "five six seven eight nine ten eleven twenty thirty"
CANDIDATES = 12  # drawn for each wish; the one nearest to it is said


class _Draw:
    """Words drawn from a generator, and the score of the last opinion drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.noun, self.noun2 = rng.choice(NOUNS.split(), 2, replace=False)

    def word(self, words: str) -> str:
        return str(self.rng.choice(words.split()))

    def opinion(self, words: dict[int, str], sign: int = 0) -> tuple[str, float]:
        """A graded word and its score, of one sign if asked."""
        grades = [grade for grade in words if sign * grade >= 0]
        grade = int(self.rng.choice(grades))
        return self.word(words[grade]), float(grade)

    def stressed(self, sign: int = 0) -> tuple[str, float]:
        """An adjective, perhaps intensified, and its score."""
        adjective, score = self.opinion(ADJECTIVES, sign)
        if self.rng.random() < 0.5 or abs(score) == 3:
            return adjective, score
        factor = float(self.rng.choice(list(INTENSIFIERS)))
        return f"{self.word(INTENSIFIERS[factor])} {adjective}", factor * score


def _statement(draw: _Draw) -> tuple[str, float]:
    said, score = draw.stressed()
    opening = draw.rng.choice(["The", "Honestly, the", "I think the", "For me the", "In the end the", "Well, the"])
    return f"{opening} {draw.noun} was {said}.", score


def _exclamation(draw: _Draw) -> tuple[str, float]:
    adjective, score = draw.opinion(ADJECTIVES)
    article = "an" if adjective[0] in "aeiou" else "a"
    return f"What {article} {adjective} {draw.word(COUNTED)}!", score


def _verdict(draw: _Draw) -> tuple[str, float]:
    verb, score = draw.opinion(VERBS)
    also = draw.rng.choice(["", " and the {}", " with the {}"]).format(draw.noun2)
    return f"I {verb} the {draw.noun}{also}.", score


def _negation(draw: _Draw) -> tuple[str, float]:
    adjective, score = draw.opinion(ADJECTIVES)
    said = draw.rng.choice(["The {} was not {}.", "I would not call the {} {}.", "The {} is not {} at all."])
    return said.format(draw.noun, adjective), -0.5 * score


def _contrast(draw: _Draw) -> tuple[str, float]:
    first, score = draw.stressed(1)
    second, other = draw.stressed(-1)
    if draw.rng.random() < 0.5:
        first, second, score, other = second, first, other, score
    # What comes after "but" weighs more.
    return f"The {draw.noun} was {first}, but the {draw.noun2} was {second}.", 0.35 * score + 0.65 * other


def _agreement(draw: _Draw) -> tuple[str, float]:
    sign = int(draw.rng.choice([-1, 1]))
    first, score = draw.stressed(sign)
    second, other = draw.stressed(sign)
    return f"The {draw.noun} was {first} and the {draw.noun2} {second}.", (score + other) / 2


def _neutral(draw: _Draw) -> tuple[str, float]:
    form = str(draw.rng.choice(NEUTRAL))
    return form.format(noun=draw.noun, noun2=draw.noun2, day=draw.word(DAYS), hour=draw.word(HOURS)), 0.0


FORMS: tuple[Callable[[_Draw], tuple[str, float]], ...] = (
    _statement, _statement, _statement, _statement, _exclamation, _exclamation, _verdict, _verdict, _verdict, _verdict,
    _agreement, _agreement, _negation, _contrast, _neutral,
)  # fmt: skip


def sentence(rng: np.random.Generator, wish: float, said: set[str]) -> tuple[str, float]:
    """The sentence nearest to the wished score of some drawn at random, none of those already `said`; and its score."""
    drawn: dict[str, float] = {}
    while len(drawn) < CANDIDATES:
        form = FORMS[int(rng.integers(len(FORMS)))]
        text, score = form(_Draw(rng))
        if text not in said:
            drawn[text] = float(np.clip(score, -3, 3))
    text = min(drawn, key=lambda each: abs(drawn[each] - wish))
    said.add(text)
    return text, drawn[text]
