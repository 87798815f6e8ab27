"""What a pair of replies costs, and what is watched of it.

A reply's log-likelihood is the sum over its tokens, in nats. Its score is that sum, or its mean a
token, less the reference's for DPO; a pair's margin is beta times the difference of its scores.

dpo     -log sigmoid(margin)                                                 arXiv 2305.18290
        with length_normalised, scores are means a token                     arXiv 2411.15124
simpo   -log sigmoid(margin - what it must exceed), means, no reference      arXiv 2405.14734
orpo    the chosen reply's mean negative log-likelihood - beta log sigmoid
        of the difference of log odds of the means, no reference             arXiv 2403.07691

`sft` adds that many times the chosen reply's mean negative log-likelihood to dpo and simpo.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from training.recipe_schema import Preference

# Of a pair; of both its replies, chosen first.
WATCHED = (
    "loss",
    "right",
    "margin",
    "reward_chosen",
    "reward_rejected",
    "nats_chosen",
    "nats_rejected",
    "tokens_chosen",
    "tokens_rejected",
)


@dataclass(frozen=True)
class Outcome:
    """Pairs judged. losses and margins (pairs,); the rest (pairs, 2), chosen before rejected."""

    losses: torch.Tensor
    margins: torch.Tensor
    rewards: torch.Tensor  # beta times the scores
    means: torch.Tensor  # log-likelihood a token, nats
    tokens: torch.Tensor

    def watched(self) -> torch.Tensor:
        """The values of WATCHED, (pairs, names), without gradient. A pair of no margin is half
        right, as a coin would be.
        """
        right = (self.margins.sign() + 1) / 2
        of_pair = [self.losses, right, self.margins]
        of_replies = [*self.rewards.T, *self.means.T, *self.tokens.T]
        return torch.stack([*of_pair, *of_replies], dim=1).detach()


def judge(
    how: Preference,
    likelihoods: torch.Tensor,
    tokens: torch.Tensor,
    reference: torch.Tensor | None = None,
) -> Outcome:
    """The losses of pairs. `likelihoods`, `reference` (dpo's alone) and `tokens`: (pairs, 2),
    chosen before rejected; sums over a reply's tokens in nats, and their number.
    """
    means = likelihoods / tokens
    scores = means
    if how.loss == "dpo":
        assert reference is not None
        scores = likelihoods - reference
        if how.length_normalised:
            scores = scores / tokens
    if how.loss == "orpo":
        scores = log_odds(means)
    rewards = how.beta * scores
    margins = rewards[:, 0] - rewards[:, 1]
    if how.loss == "orpo":
        losses = -means[:, 0] - how.beta * logsigmoid(scores[:, 0] - scores[:, 1])
    else:
        losses = -logsigmoid(margins - (how.margin or 0.0)) - (how.sft or 0.0) * means[:, 0]
    return Outcome(losses, margins, rewards, means, tokens)


def log_odds(means: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) of probabilities whose logarithms are given."""
    return means - torch.log(-torch.expm1(means.clamp(max=-1e-9)))
