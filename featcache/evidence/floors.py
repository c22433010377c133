"""Floors: what a head must beat to have been worth a transformer.

The majority class, and a bag of words: TF-IDF over 1-2 grams with sublinear counts and logistic
regression with C = 10 (the usual strong baseline, e.g. Wang and Manning 2012), both on the head's
own training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.tasks.protocol import Task


@dataclass(frozen=True)
class Floor:
    """Scores of a floor; train and validation of one fitted on training rows, test of one fitted on
    both.
    """

    train: dict[str, float]
    validation: dict[str, float]
    test: dict[str, float] | None


def floors(
    texts: Sequence[Sequence[str]], labels: Sequence[NDArray[np.int64]], task: Task
) -> tuple[Floor, Floor | None]:
    """The majority and the bag-of-words floor; the latter None where the texts hold no word.

    texts, labels: of training, validation and, where there is one, test.
    """
    both_texts, both = [*texts[0], *texts[1]], np.concatenate(labels[:2])
    constant = [task.majority(labels[0], len(part)) for part in labels[:2]]
    constant += [task.majority(both, len(part)) for part in labels[2:]]
    words = bag_of_words(texts[0], labels[0], texts[:2])
    if words is not None and len(texts) > 2:
        words += bag_of_words(both_texts, both, texts[2:]) or []

    def scored(predicted: Sequence[NDArray[np.int64]]) -> Floor:
        found = [task.scores(truth, given) for truth, given in zip(labels, predicted, strict=True)]
        return Floor(found[0], found[1], found[2] if len(found) > 2 else None)

    return scored(constant), None if words is None else scored(words)


def bag_of_words(
    texts: Sequence[str], labels: NDArray[np.int64], scored: Sequence[Sequence[str]]
) -> list[NDArray[np.int64]] | None:
    """Predicted classes for each list of texts in `scored`, or None where the training texts hold
    no word.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # "empty vocabulary": texts of single letters or signs only
        return None
    model = LogisticRegression(C=10.0, max_iter=1000)
    with warnings.catch_warnings():
        # A floor that stops after 1,000 steps is a fair floor; of many classes with few rows it
        # asks for a regression.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model.fit(counts, labels)
    return [
        np.asarray(model.predict(vectorizer.transform(part)), dtype=np.int64) for part in scored
    ]
