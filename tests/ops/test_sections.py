import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.ops.fusion import fused_map
from dcan.ops.sections import Fusion, segment


def cells():
    """Two cells, a wall between them with a hole that membrane alone does not close."""
    membrane = np.full((20, 41), 20, np.uint8)
    membrane[:, 20] = 200
    membrane[9:11, 20] = 60
    membrane[0] = membrane[-1] = 250
    membrane[:, 0] = membrane[:, -1] = 250
    return membrane


def test_the_watershed_closes_a_gap_that_the_threshold_leaves():
    alone = segment(cells(), Fusion(1.0, 3.0, 0, 300, 10))
    fused = segment(cells(), Fusion(1.0, 3.0, 700, 200, 10))
    assert len(alone.segments.names) == 1
    assert len(fused.segments.names) == 2
    assert fused.labels[10, 10] == 1 + 1 * 41 + 1
    assert fused.labels[10, 10] != fused.labels[10, 30]


def test_segments_agree_with_the_image():
    section = segment(cells(), Fusion(1.0, 3.0, 700, 200, 10))
    names, sizes = np.unique(section.labels[section.labels > 0], return_counts=True)
    assert section.segments.names.tolist() == names.tolist()
    assert section.segments.sizes.tolist() == sizes.tolist()
    first = [int(np.flatnonzero(section.labels == name)[0]) + 1 for name in names]
    assert names.tolist() == first


def test_small_segments_are_dropped_from_the_labels_only():
    kept = segment(cells(), Fusion(1.0, 3.0, 700, 200, 0))
    dropped = segment(cells(), Fusion(1.0, 3.0, 700, 200, 10**6))
    assert (kept.labels > 0).any()
    assert not dropped.labels.any()
    assert (kept.inside == dropped.inside).all()


def test_inside_is_the_fused_map_below_t():
    section = segment(cells(), Fusion(1.0, 3.0, 450, 610, 0))
    assert (section.inside == (fused_map(cells(), section.contour, 450) < 0.61)).all()


def test_what_has_no_tissue_is_outside_whatever_its_membrane():
    tissue = np.ones(cells().shape, bool)
    tissue[5:8, 5:30] = False
    membrane = np.where(tissue, cells(), 255).astype(np.uint8)
    fusion = Fusion(1.0, 3.0, 700, 400, 0)  # w_f > 1 - t lets membrane of 255 in
    assert segment(membrane, fusion).inside[~tissue].any()
    section = segment(membrane, fusion, tissue)
    assert not section.inside[~tissue].any()
    assert not section.labels[~tissue].any()
    assert (section.inside[tissue] == segment(membrane, fusion).inside[tissue]).all()
    with pytest.raises(ValueError, match="tissue has shape"):
        segment(membrane, fusion, tissue[1:])


def test_a_bad_parameter_is_refused():
    with pytest.raises(DcanError, match="depth"):
        segment(cells(), Fusion(1.0, -1.0, 700, 300, 0))
