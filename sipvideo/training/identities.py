"""How alike sightings of objects must be: the track loss of the paper's section 3.4, on cosine similarities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class IdentityLoss:
    """A softmax over all that an object could be in another view, "new" among them.

    Negatives that are hard to tell from the object teach most, those that give themselves away by another
    background teach a short cut.

    Attributes:
        temperature: cosine similarities are divided by it.
        new_similarity: the similarity at which "not in the other view" is as likely as a match.
        same_class: weight of negatives with the object's class; all others have 1.
        other_clips: factor of the weight of negatives from other clips.
    """

    temperature: float = 0.1
    new_similarity: float = 0.5
    same_class: float = 1.0
    other_clips: float = 1.0

    def __call__(
        self, embeddings: Tensor, views: Tensor, object_ids: Tensor, labels: Tensor
    ) -> Tensor:
        """The mean over N sightings, a scalar.

        Args:
            embeddings: float [N, E], at least one.
            views: int64 [N], the view of each sighting; 2k and 2k + 1 show the same clip.
            object_ids: int64 [N], numbers within a clip.
            labels: int64 [N].
        """
        clips = views.div(2, rounding_mode="floor")
        other_view = views[:, None] != views
        same_clip = clips[:, None] == clips
        same = other_view & same_clip & (object_ids[:, None] == object_ids)
        alike = labels[:, None] == labels
        weights = torch.where(alike, self.same_class, 1.0)
        weights = weights * torch.where(same_clip, 1.0, self.other_clips)
        weights = torch.where(same, 1.0, weights) * other_view
        units = F.normalize(embeddings, dim=1)
        similarity = units @ units.t()
        new = similarity.new_full((len(views), 1), self.new_similarity)
        logits = torch.cat((new, similarity), 1) / self.temperature
        logits = logits + F.pad(weights, (1, 0), value=1.0).log()
        target = torch.where(same.any(1), same.float().argmax(1) + 1, 0)
        return F.cross_entropy(logits, target)
