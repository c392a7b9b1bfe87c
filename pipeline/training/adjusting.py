"""Fine-tune a feature model on few labels: every table keeps its shape, and a factor sets its weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.scoring.additive import AdditiveModel, Term


def adjusted(
    model: AdditiveModel,
    values: npt.NDArray[np.float32],
    is_match: npt.NDArray[np.bool_],
    hold: float,
    *,
    keeps_intercept: bool = False,
) -> AdditiveModel:
    """A model, features of shape (n, len(model.features)) and truth of shape (n,) to the model adjusted.

    Logistic regression on the tables' contributions, with a ridge towards what the model was: the summed log
    loss and `hold / 2` times the squared distance of every factor from 1 are least. The more pairs, the less
    the model of before counts. `keeps_intercept`, where the share of matches among the pairs says nothing.
    """
    from scipy.optimize import minimize

    parts = model.contributions(values)
    columns = np.stack([parts[_name(t)] for t in model.terms], axis=1)
    sign = np.where(is_match, 1.0, -1.0)

    def loss(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = sign * (x[0] + columns @ x[1:])
        pull = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        away = x[1:] - 1
        total = np.logaddexp(0, -margin).sum() + hold / 2 * (away @ away)
        common = 0.0 if keeps_intercept else pull.sum()
        return float(total), np.concatenate([[common], columns.T @ pull + hold * away])

    start = np.concatenate([[model.intercept], np.ones(len(model.terms))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    terms = tuple(Term(t.features, t.table * f) for t, f in zip(model.terms, found[1:], strict=True))
    return replace(model, terms=terms, intercept=float(found[0]))


def _name(term: Term) -> str:
    return " × ".join(term.features)
