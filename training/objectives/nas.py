"""NAS: captions and pictures that are wrong in one thing, for the fusion encoder to tell from the right ones.

Paper: NAS (AAAI 2025), negative augmented samples over a visual dictionary (`training.model.visual_dictionary`). Its
abstract and opening could be read, so what is not marked [paper] below is a reconstruction, and a setting:

    negative text augmentation [paper]: a caption with a word exchanged, T^-, is no match for its picture
    negative visual augmentation [paper]: patches exchanged for other codes, V^-, are no match for the caption
      S_t(i) = cos(text, v_i), S_v(i) = cos(image, v_i)      [paper], over patch embeddings in the joint space
      r_i = u S_t(i) + (1 - u) S_v(i)                         each first brought to 0..1 within its picture
      R = the share rho of patches with the highest r_i       or one connected blob grown from the highest
      b(a) for every code a in R, one for the whole picture   so that an object changes as a whole; drawn from the k
                                                              nearest living codes of a, p ~ softmax(cos(E_a, E_b)/0.1)
      V^-_i = v_i + (E_b(a) - E_a), or E_b(a) itself          for i in R; v_i elsewhere
    L = L_right + lambda_t L_text + lambda_v L_visual         each a mean of its own: over (V, T), (V, T^-), (V^-, T)

The pairs of a group never weigh less because another group is larger, and every step that shows wrong pictures shows as
much of right ones. `training.objectives.itm`, whose wrong partners are whole captions and pictures of the batch, stands
beside this in the recipes.

u is 1/2 in the likelier reading of the paper. Where captions name some of several things, the whole picture's cosine
points at the others as well, and a picture that is changed there still matches (docs/experiments.md): so u is 1 here.

Kept patches carry gradients, inserted ones do not. k begins as all codes and narrows to `nearest`: far codes are easy.
A wrong picture that the momentum model finds matching all the same is left out as a false negative: its encoders and
fusion, with the model's own matching head, since a momentum model has none. Without a momentum model the model judges
by itself; since it would then never learn from what it takes to be right, at most the share `most_rejected` of a batch
is left out, the highest scores first.

Artefacts: if only wrong pictures had raw codes in them, raw codes would be what is learned. The first form keeps what
is a patch's own; `quantised_positives` puts E_a into the same places of the right pictures in the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.model.visual_dictionary import VisualDictionary
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualAugmentationConfig:
    """How a picture is made wrong."""

    share: float = 0.15  # rho: of the patches that are exchanged; at least one is
    text_share: float = 1.0  # u: how much of a patch's relevance is the caption's; the rest is the whole picture's
    is_connected: bool = False  # they are one blob, grown from the most relevant patch, and not the most relevant ones
    nearest: int = 10  # k, once the curriculum has come to its end
    curriculum_steps: int = 1000  # over which k narrows from all codes; 0: no curriculum
    sharpness: float = 0.1  # what cosines of codes are divided by
    is_residual: bool = True  # a patch is moved by the difference of the codes; else it becomes the code
    quantised_positives: bool = False  # right pictures have their codes in the same places: the artefact's control
    least_perplexity: float = 0.2  # of the number of codes: it begins once the dictionary says as much
    reject_above: float = 0.9  # probability of a match from which a wrong picture is taken to be right
    most_rejected: float = 0.5  # of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class NasConfig:
    """Matching against negative augmented samples."""

    text: float = 1.0  # lambda_t; 0: no edited captions
    visual: float = 1.0  # lambda_v; 0: no pictures with exchanged patches
    augmentation: VisualAugmentationConfig = VisualAugmentationConfig()
    momentum: MomentumConfig | None = None  # who says which wrong pictures are right; None: the model itself
    max_pairs: int | None = None  # only so many pairs of the batch (None: all)

    @property
    def use_edits(self) -> bool:
        """Whether edited captions of the batch are to be encoded."""
        return self.text > 0.0

    def build(self, model: PairModel, momentum: MomentumModel | None = None) -> "Nas":
        """The objective.

        Raises:
            ValueError: the model lacks a fusion encoder or a visual dictionary, momentum is configured and not given,
                or positives are to be quantised where nothing becomes its code.
        """
        if model.fusion_encoder is None:
            raise ValueError("NAS needs a model with a fusion encoder")
        if self.visual > 0.0 and model.visual_dictionary is None:
            raise ValueError("NAS exchanges codes of a visual dictionary: give ModelConfig a VisualDictionaryConfig")
        if (self.momentum is None) != (momentum is None):
            raise ValueError("NAS with momentum needs the momentum model, and without it none")
        if self.augmentation.quantised_positives and self.augmentation.is_residual:
            raise ValueError("quantised_positives goes with is_residual=False: a patch moved from its code to it stays")
        return Nas(self, momentum)


def relevance_of(
    patch_embeddings: Float[Tensor, "pairs patches dim"],
    text_embedding: Float[Tensor, "pairs dim"],
    image_embedding: Float[Tensor, "pairs dim"],
    *,
    text_share: float,
) -> Float[Tensor, "pairs patches"]:
    """How much each patch carries of what the caption and the whole picture are about, 0 to 1.

    Paper: NAS (2025), the two cosines. Their scaling to 0..1 within a picture, and their mean, weighed by `text_share`,
    are a reconstruction.
    """
    scores = torch.stack([(patch_embeddings @ of[:, :, None]).squeeze(-1) for of in (text_embedding, image_embedding)])
    low, high = scores.amin(dim=-1, keepdim=True), scores.amax(dim=-1, keepdim=True)
    by_text, by_image = (scores - low) / (high - low).clamp(min=1e-6)
    return torch.lerp(by_image, by_text, text_share)


def most_relevant(relevance: Float[Tensor, "pairs patches"], count: int) -> Bool[Tensor, "pairs patches"]:
    """The patches of highest relevance, so many in each picture."""
    chosen = torch.zeros_like(relevance, dtype=torch.bool)
    return chosen.scatter_(1, relevance.topk(count, dim=1).indices, True)


def connected(
    relevance: Float[Tensor, "pairs patches"], count: int, grid: tuple[int, int]
) -> Bool[Tensor, "pairs patches"]:
    """One blob of so many patches in each picture: the most relevant patch, then always the most relevant neighbour."""
    chosen = most_relevant(relevance, 1)
    for _ in range(count - 1):
        blob = chosen.float().reshape(-1, 1, *grid)
        around = F.max_pool2d(blob, (3, 1), stride=1, padding=(1, 0))
        beside = F.max_pool2d(blob, (1, 3), stride=1, padding=(0, 1))
        is_near = (torch.maximum(around, beside).flatten(1) > 0) & ~chosen
        chosen |= most_relevant(relevance.masked_fill(~is_near, -torch.inf), 1)
    return chosen


def draw_targets(
    codes: Int[Tensor, "pairs patches"],
    is_exchanged: Bool[Tensor, "pairs patches"],
    neighbours: Float[Tensor, "codes codes"],
    *,
    nearest: int,
    sharpness: float,
) -> Int[Tensor, "pairs patches"]:
    """The codes of the wrong pictures: another one in the exchanged patches, the same for the same code of a picture.

    Args:
        codes: of the pictures.
        is_exchanged: which patches change.
        neighbours: cosine of each code with each, minus infinity with those that it never becomes.
        nearest: how many neighbours of a code it may become.
        sharpness: what their cosines are divided by before the softmax.
    """
    size = len(neighbours)
    picture = torch.arange(len(codes), device=codes.device)[:, None]
    wanted, place = torch.unique((picture * size + codes)[is_exchanged], return_inverse=True)
    cosine, candidates = neighbours[wanted % size].topk(min(nearest, size - 1), dim=1)
    drawn = torch.multinomial(torch.softmax(cosine / sharpness, dim=1), 1)
    targets = codes.clone()
    targets[is_exchanged] = candidates.gather(1, drawn).squeeze(1)[place]
    return targets


def exchanged(
    tokens: Float[Tensor, "pairs patches width"],
    vectors: Float[Tensor, "codes width"],
    codes: Int[Tensor, "pairs patches"],
    targets: Int[Tensor, "pairs patches"],
    is_exchanged: Bool[Tensor, "pairs patches"],
    *,
    is_residual: bool,
) -> Float[Tensor, "pairs patches width"]:
    """The patch tokens with some exchanged; these carry no gradient, the others all of theirs."""
    inserted = vectors[targets]
    if is_residual:
        inserted = tokens.detach() + inserted - vectors[codes]
    return torch.where(is_exchanged[:, :, None], inserted.to(tokens.dtype), tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPictures:
    """Pictures with exchanged patches, and what was exchanged."""

    tokens: Float[Tensor, "pairs patches width"]
    beside: Float[Tensor, "pairs patches width"]  # the right pictures that they stand beside
    is_exchanged: Bool[Tensor, "pairs patches"]
    codes: Int[Tensor, "pairs patches"]
    targets: Int[Tensor, "pairs patches"]


def wrong_pictures(
    dictionary: VisualDictionary,
    features: PairFeatures,
    augmentation: VisualAugmentationConfig,
    *,
    grid: tuple[int, int],
    nearest: int,
    count: int,
) -> WrongPictures:
    """Negative visual augmentation of the first pairs.

    Args:
        dictionary: that the features' codes are of.
        features: of right pairs.
        augmentation: how.
        grid: rows and columns of the patches.
        nearest: how many of its neighbours a code may become.
        count: how many pairs.
    """
    assert features.codes is not None
    images, codes = features.image_tokens[:count], features.codes[:count]
    with torch.no_grad():
        relevance = relevance_of(
            features.patch_embeddings[:count].float(),
            features.text_embedding[:count].float(),
            features.image_embedding[:count].float(),
            text_share=augmentation.text_share,
        )
        patches = max(1, round(augmentation.share * relevance.shape[1]))
        chosen = connected(relevance, patches, grid) if augmentation.is_connected else most_relevant(relevance, patches)
        neighbours, sharpness = dictionary.neighbours(), augmentation.sharpness
        targets = draw_targets(codes, chosen, neighbours, nearest=nearest, sharpness=sharpness)
    vectors, beside = dictionary.vectors, images
    if augmentation.quantised_positives:
        beside = exchanged(images, vectors, codes, codes, chosen, is_residual=False)
    tokens = exchanged(images, vectors, codes, targets, chosen, is_residual=augmentation.is_residual)
    return WrongPictures(tokens=tokens, beside=beside, is_exchanged=chosen, codes=codes, targets=targets)


def accepted(logits: Float[Tensor, " pairs"], *, above: float, most: float) -> Bool[Tensor, " pairs"]:
    """Which wrong pictures are not taken to be right: all but the highest, at most a share `most`, that are above."""
    rank = logits.argsort(descending=True).argsort()
    return ~((torch.sigmoid(logits.float()) > above) & (rank < int(most * len(logits))))


def hardest(cosine: Float[Tensor, " wrong"], rows: Int[Tensor, " wrong"], count: int) -> Int[Tensor, " chosen"]:
    """Which of each pair's wrong captions is most like its picture, for those of the first `count` pairs that have any.

    Args:
        cosine: of each wrong caption with the picture of its pair.
        rows: the pair of each.
        count: pairs from this one on are left out.
    """
    order = cosine.argsort(descending=True)
    of = rows[order]
    pairs = torch.arange(count, device=rows.device)
    is_of = of == pairs[:, None]
    return order[is_of.int().argmax(dim=1)[is_of.any(dim=1)]]


class Nas:
    """The objective over a batch."""

    def __init__(self, config: NasConfig, momentum: MomentumModel | None) -> None:
        self.config = config
        self.momentum = momentum
        self.num_steps = 0  # that have shown wrong pictures
        self._showed = False

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss, and what became of each group.

        Reported are, of right pairs, wrong texts and wrong pictures, the share judged rightly, for the wrong ones the
        share that scores below its right pair, and how many codes a code may become.

        Raises:
            ValueError: wrong captions are asked for and the batch has none.
        """
        count = min(len(batch.ids), self.config.max_pairs or len(batch.ids))
        texts, masks = features.text_tokens[:count], features.text_mask[:count]
        images = features.image_tokens[:count]
        rows = torch.arange(count, device=images.device)
        groups = [_Group("", images, texts, masks, rows)]
        if self.config.text > 0.0:
            words, word_masks, of = _wrong_texts(model, batch, features, count)
            groups.append(_Group("texts", images[of], words, word_masks, of))
        wrong = self._wrong_pictures(model, features, count)
        self._showed = wrong is not None
        if wrong is not None:
            groups[0] = _Group("", wrong.beside, texts, masks, rows)
            groups.append(_Group("pictures", wrong.tokens, texts, masks, rows))
        logits = _matched(model, groups)
        is_kept = None if wrong is None else self._kept(model, batch, wrong, logits["pictures"].detach())
        return self._output(groups, logits, is_kept)

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Move the curriculum on, if the step showed wrong pictures."""
        self.num_steps += int(self._showed)

    def state_dict(self) -> dict[str, Tensor]:
        """How far the curriculum has come."""
        return {"num_steps": torch.tensor(self.num_steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.num_steps = int(state["num_steps"])

    def nearest(self, size: int) -> int:
        """How many of its neighbours a code may become at this step, of `size` codes."""
        augmentation = self.config.augmentation
        left = 1.0 - self.num_steps / augmentation.curriculum_steps if augmentation.curriculum_steps else 0.0
        return augmentation.nearest + round(max(0.0, left) * max(0, size - 1 - augmentation.nearest))

    def _wrong_pictures(self, model: PairModel, features: PairFeatures, count: int) -> "WrongPictures | None":
        """None where pictures are not exchanged at all, or the dictionary says too little yet."""
        if self.config.visual == 0.0:
            return None
        dictionary, augmentation = _dictionary(model), self.config.augmentation
        least = augmentation.least_perplexity * dictionary.config.size
        if self.num_steps == 0 and not dictionary.report()["perplexity"] > least:
            return None
        return wrong_pictures(
            dictionary,
            features,
            augmentation,
            grid=model.image_encoder.grid,
            nearest=self.nearest(dictionary.config.size),
            count=count,
        )

    @torch.no_grad()
    def _kept(
        self, model: PairModel, batch: PairBatch, wrong: "WrongPictures", logits: Float[Tensor, " pairs"]
    ) -> Bool[Tensor, " pairs"]:
        augmentation = self.config.augmentation
        if self.momentum is not None:
            slow, count = self.momentum.pairs(batch), len(logits)
            tokens = exchanged(
                slow.image_tokens[:count],
                _dictionary(model).vectors,
                wrong.codes,
                wrong.targets,
                wrong.is_exchanged,
                is_residual=augmentation.is_residual,
            )
            fused = self.momentum.model.fuse(slow.text_tokens[:count], slow.text_mask[:count], tokens)
            logits = model.match(fused)
        return accepted(logits, above=augmentation.reject_above, most=augmentation.most_rejected)

    def _output(
        self,
        groups: "list[_Group]",
        logits: Mapping[str, Float[Tensor, " asked"]],
        is_kept: Bool[Tensor, " pairs"] | None,
    ) -> ObjectiveOutput:
        right = logits[""]
        loss = F.softplus(-right).mean()
        report = {"right": (right > 0).float().mean()}
        for group in groups[1:]:
            wrong = logits[group.name]
            asked = torch.ones_like(wrong, dtype=torch.bool) if group.name == "texts" or is_kept is None else is_kept
            weight = self.config.text if group.name == "texts" else self.config.visual
            loss = loss + weight * (F.softplus(wrong) * asked).sum() / asked.sum().clamp(min=1)
            report |= {
                f"{group.name}_right": (wrong < 0).float().mean(),
                f"{group.name}_below": (wrong < right[group.rows]).float().mean(),
            }
        if is_kept is not None:
            report["rejected"] = 1.0 - is_kept.float().mean()
        report["steps_with_pictures"] = torch.tensor(float(self.num_steps))
        return ObjectiveOutput(loss=loss, report={name: value.detach() for name, value in report.items()})


@dataclass(frozen=True, slots=True)
class _Group:
    """Pairs that are averaged together."""

    name: str  # empty: the right ones
    images: Float[Tensor, "asked patches width"]
    texts: Float[Tensor, "asked subwords width"]
    masks: Bool[Tensor, "asked subwords"]
    rows: Int[Tensor, " asked"]  # the right pair that each was made of


def _matched(model: PairModel, groups: list[_Group]) -> dict[str, Float[Tensor, " asked"]]:
    """The matching logits of each group, from one pass over all."""
    fused = model.fuse(
        torch.cat([group.texts for group in groups]),
        torch.cat([group.masks for group in groups]),
        torch.cat([group.images for group in groups]),
    )
    logits = torch.split(model.match(fused).float(), [len(group.rows) for group in groups])
    return {group.name: of for group, of in zip(groups, logits, strict=True)}


def _wrong_texts(
    model: PairModel, batch: PairBatch, features: PairFeatures, count: int
) -> tuple[Float[Tensor, "wrong subwords width"], Bool[Tensor, "wrong subwords"], Int[Tensor, " wrong"]]:
    """Tokens and masks of wrong captions, and whose they are: edited ones, or those with wrong words.

    Of several edited captions of a pair it is the one that the dual encoder likes best: a wrong colour is easy, and
    would leave little of the loss to what is not (a reconstruction, as is the rule of the edit).
    """
    if batch.edits is not None and features.edited is not None:
        of = batch.edits.rows
        with torch.no_grad():
            cosine = (features.edited.embedding * features.image_embedding[of]).sum(dim=1)
        chosen = hardest(cosine, of, count)
        return features.edited.tokens[chosen], features.edited.mask[chosen], of[chosen]
    if batch.wrong_words is not None:
        words = batch.wrong_words.first(count)
        masks = batch.mask[:count]
        tokens = model.encode_texts(words.ids, masks).tokens  # all, so that every process asks for equally much
        rows = words.is_wrong.any(dim=1).nonzero().squeeze(1)
        return tokens[rows], masks[rows], rows
    raise ValueError(
        "negative text augmentation needs wrong captions: give the recipe's data an edited_share (drawn scenes) or a "
        "WrongWordsConfig"
    )


def _dictionary(model: PairModel) -> VisualDictionary:
    assert model.visual_dictionary is not None
    return model.visual_dictionary
