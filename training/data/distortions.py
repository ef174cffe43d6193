"""Distortions of pictures, and the words that each of them makes false.

A flipped picture has nothing on the left that was there; of a hue-shifted one "red" is no longer said. Every distortion
names the families of words that it can make false, and is kept from captions that have such a word
(`training.data.augmentation`). The lists are of English, and rather too long than too short: a distortion that is left
out costs little, a false caption teaches something wrong.

The picture work is Pillow's (docs/adr/0037).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Box = tuple[float, float, float, float]
Apply = Callable[[Image.Image, np.random.Generator, Sequence[Box]], Image.Image]
"""A picture, what is drawn from, and the boxes that have to stay in view, to the distorted picture."""

SIDES = frozenset(
    "left right leftmost rightmost leftward leftwards rightward rightwards east west eastern western "
    "clockwise counterclockwise anticlockwise mirrored".split()
)
WRITING = frozenset(
    "sign signs text word words letter letters lettering writing written writes reads read says spells "
    "spelled number numbers numbered digit digits logo logos label labels labeled labelled slogan slogans "
    "title titles newspaper newspapers magazine poster posters billboard clock clocks jersey flag flags "
    "banner banners map graffiti tattoo".split()
)
COLOURS = frozenset(
    "red scarlet crimson maroon ruby burgundy orange amber peach yellow gold golden mustard green lime "
    "chartreuse olive emerald mint teal turquoise cyan aqua blue navy azure indigo purple violet lavender "
    "lilac magenta plum mauve pink fuchsia rosy brown chocolate tan tanned beige bronze copper rust khaki "
    "black white grey gray silver ivory cream blond blonde brunette redhead redheaded ginger auburn "
    "reddish orangish yellowish greenish bluish purplish pinkish brownish blackish whitish greyish "
    "grayish colour colours coloured colourful color colors colored colorful colorfully multicolor "
    "multicolored multicoloured multicolour rainbow dyed tinted hue hues monochrome sepia autumn ripe "
    "rusty skinned camouflage".split()
)
SHADES = frozenset(
    "dark darker darkest darkened darkness light lighter lights lighting lit unlit bright brighter "
    "brightly brightest dim dimly pale faded faint vivid night nighttime evening dusk dawn sunset sunrise "
    "twilight day daylight daytime sunny sunlit sunlight sun shade shaded shadow shadows shadowy shady "
    "glow glows glowing gloomy moonlit moonlight overcast illuminated silhouette silhouettes silhouetted "
    "neon candlelit spotlight foggy fog mist misty haze hazy stormy transparent clear sunshine sunsets "
    "sundown overnight shades lighted headlight headlights".split()
)
COUNTS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty hundred hundreds thousand thousands dozen "
    "dozens several many few couple couples pair pairs both multiple single alone lone lonely only solo "
    "group groups crowd crowds crowded numerous all every each various bunch lots row rows trio duo twins "
    "half team no".split()
)
PLACES = SIDES | frozenset(
    "above over below under beneath underneath between among top bottom corner corners edge edges middle "
    "center centre central side sides beside next near far away distant distance foreground background "
    "front behind upper lower higher inside outside within in on upon against touching along around "
    "across through off out covering covered hiding hidden surrounded facing toward towards".split()
)
SIZES = frozenset(
    "small smaller smallest little tiny miniature mini medium middling large larger largest big bigger "
    "biggest huge giant gigantic enormous massive tall taller short shorter long longer high wide narrow "
    "size sized".split()
)
WHOLES = frozenset(
    "whole entire entirely complete completely full fully empty view landscape panorama panoramic "
    "overhead aerial closeup close distant scene cityscape skyline".split()
)
DETAILS = WRITING | frozenset(
    "striped stripy stripe stripes dotted dot dots spotted spots speckled speckles checked checkered "
    "chequered plaid tartan pattern patterns patterned unpatterned plain banded belted belt floral "
    "flowered polka lace lacy texture textured grainy smooth furry fuzzy fluffy wrinkled freckled "
    "freckles curly blurry blurred blur sharp focus focused smile smiles smiling smiled frown frowning "
    "happy sad cheerful unhappy crying laughing expression eyes wink teeth tiny print prints printed spot".split()
)
GRAIN = frozenset(
    "snow snows snowing snowy snowflakes rain raining rainy raindrops drizzle sand sandy dust dusty dirty "
    "sparkling sparkle glitter glittering starry stars confetti bubbles drops droplets spray".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """One way to change a picture."""

    name: str
    makes_false: frozenset[str]  # words of captions that may no longer be true afterwards
    apply: Apply


_HUE_LEVELS = 256
_LEAST_HUE_SHIFT, _LEAST_KEPT_SIDE = 26, 0.75
_BLUR_OF_SIDE = (0.002, 0.008)
_NOISE = (3.0, 10.0)
_TURNED = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def _crop(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    """A window of at least three quarters of each side that holds every box."""
    lows, highs = np.zeros(2), np.ones(2)
    for axis in (0, 1):
        first = min((box[axis] for box in keep), default=1.0)
        last = max((box[axis + 2] for box in keep), default=0.0)
        kept = rng.uniform(max(_LEAST_KEPT_SIDE, last - first), 1.0)
        lows[axis] = rng.uniform(max(0.0, last - kept), min(1.0 - kept, first))
        highs[axis] = lows[axis] + kept
    size = np.array(image.size)
    left, top = np.floor(lows * size).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(highs * size).astype(int), size).tolist()
    return image.crop((left, top, right, bottom))


def _flip(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    return ImageOps.mirror(image)


def _hue(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shift = int(rng.integers(_LEAST_HUE_SHIFT, _HUE_LEVELS - _LEAST_HUE_SHIFT))
    turned = hue.point([(level + shift) % _HUE_LEVELS for level in range(_HUE_LEVELS)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _greyscale(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    return image.convert("L").convert("RGB")


def _channels(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    channels = image.split()
    return Image.merge("RGB", [channels[at] for at in _TURNED[rng.integers(len(_TURNED))]])


def _enhanced(enhance: Callable[[Image.Image], ImageEnhance._Enhance], low: float, high: float) -> Apply:
    def apply(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
        return enhance(image).enhance(float(rng.uniform(low, high)))

    return apply


def _blur(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(*_BLUR_OF_SIDE)) * min(image.size)))


def _noise(image: Image.Image, rng: np.random.Generator, keep: Sequence[Box]) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    noisy = pixels + rng.uniform(*_NOISE) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


DISTORTIONS = (
    Distortion(name="crop", makes_false=COUNTS | PLACES | SIZES | WHOLES, apply=_crop),
    Distortion(name="flip", makes_false=SIDES | WRITING, apply=_flip),
    Distortion(name="hue", makes_false=COLOURS, apply=_hue),
    Distortion(name="greyscale", makes_false=COLOURS, apply=_greyscale),
    Distortion(name="channels", makes_false=COLOURS | SHADES, apply=_channels),
    Distortion(name="saturation", makes_false=COLOURS | SHADES, apply=_enhanced(ImageEnhance.Color, 0.3, 1.7)),
    Distortion(name="brightness", makes_false=COLOURS | SHADES, apply=_enhanced(ImageEnhance.Brightness, 0.6, 1.4)),
    Distortion(name="contrast", makes_false=COLOURS | SHADES, apply=_enhanced(ImageEnhance.Contrast, 0.6, 1.4)),
    # what a little more or less light leaves as it was called
    Distortion(name="exposure", makes_false=frozenset(), apply=_enhanced(ImageEnhance.Brightness, 0.88, 1.12)),
    Distortion(name="blur", makes_false=DETAILS, apply=_blur),
    Distortion(name="noise", makes_false=DETAILS | GRAIN, apply=_noise),
)
"""Every distortion, in the order in which several are applied: boxes are of the picture before the first."""

_WORD = re.compile(r"[a-z]+|\d+")


def words_of(texts: Iterable[str]) -> frozenset[str] | None:
    """The words of texts, folded; digits are counts ("one"). None where there are letters that no list here has."""
    found: set[str] = set()
    for text in texts:
        folded = text.lower()
        if any(letter.isalpha() and not letter.isascii() for letter in folded):
            return None
        found.update("one" if word.isdigit() else word for word in _WORD.findall(folded))
    return frozenset(found)
