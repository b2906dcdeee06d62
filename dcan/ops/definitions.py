"""What every reported metric means, in a sentence that stands beside its number."""

from __future__ import annotations

HEADLINES = {
    "rand_error": "rand_error_foreground",
    "warping_error": "warping_error_splits_mergers",
    "vrand_thin": "vrand_thin_macro",
}
"""The key of `StackScores` that a short name stands for: those of the challenge's ranking."""

_NEURITE = "neurite is what exceeds t (high = neurite)"
_BEST = "best of t = 0, 0.1, ... 1.0 (a binary proposal: t = 0), one t for all sections"
_WARPED = (
    "after truth is warped to the proposal by flipping simple points; all pixels count, 0 "
    f"(membrane) too; {_NEURITE}; best of t = 0, 0.1, ... 0.9 (a binary proposal: t = 0), one t "
    "for all sections."
)
_SECTIONS = f"objects are a section's 4-connected neurite; {_NEURITE}; {_BEST}."
_THINNED = (
    "after the proposal's membrane is thinned to dams of one pixel, over pixels whose truth is "
    "not 0, dams (0) being objects of one pixel"
)
_VOXELS = "over voxels whose truth is not 0, without threshold"
_SINGLE = f"{_VOXELS}, proposal 0 being objects of one voxel."
_ORDINARY = f"{_VOXELS}, proposal 0 being an object like any other."

DEFINITIONS = {
    "pixel_error": "1 - F of the neurite pixels, counts summed over sections; 0 (membrane) is "
    f"what is not neurite; {_NEURITE}; {_BEST}.",
    "rand_error_classic": "1 - F of the pixel pairs in one object, counts summed over sections, 0 "
    f"(membrane) being an object like any other on both sides; {_SECTIONS}",
    "rand_error_foreground": "1 - F of the pixel pairs in one object, counts summed over "
    "sections, over pixels whose truth is not 0, proposal 0 (membrane) being objects of one "
    f"pixel; {_SECTIONS}",
    "vrand_thin_macro": f"F of the pixel pairs in one object {_THINNED}; mean over sections; "
    f"{_SECTIONS}",
    "vrand_thin_micro": f"F of the pixel pairs in one object {_THINNED}; counts summed over "
    f"sections; {_SECTIONS}",
    "vinfo_thin": f"F of the shares of entropy explained {_THINNED}; mean over sections; a ratio "
    f"(computed in nats, the same in bits); {_SECTIONS}",
    "warping_error_classic": f"Share of pixels that still differ {_WARPED}",
    "warping_error_splits_mergers": "Share of pixels that still split or merge objects (cuts "
    f"judged within 20 pixels) {_WARPED}",
    "adapted_rand_error": f"1 - harmonic mean of rand_split and rand_merge, {_SINGLE}",
    "rand_split": "Recall of the voxel pairs in one object (falls with splits, 1 is perfect), "
    + _SINGLE,
    "rand_merge": "Precision of the voxel pairs in one object (falls with mergers, 1 is perfect), "
    + _SINGLE,
    "voi_split": "H(proposal | truth) in bits (log2; grows with splits, 0 is perfect), "
    + _ORDINARY,
    "voi_merge": "H(truth | proposal) in bits (log2; grows with mergers, 0 is perfect), "
    + _ORDINARY,
}
"""What each key of `StackScores` and `volume_scores` means, and each short name."""
DEFINITIONS.update({short: DEFINITIONS[key] for short, key in HEADLINES.items()})

MISTAKES = {
    "split": "the proposal parts an object",
    "merge": "the proposal joins objects",
    "hole_addition": "the proposal makes a hole in an object",
    "hole_deletion": "the proposal loses a hole of an object",
    "object_addition": "the proposal has an object where truth has none",
    "object_deletion": "the proposal loses an object",
}
"""What each `Mistake` means, by its name in lower case; the first two are the warping error."""
