import numpy as np
import pytest
import tifffile

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops import phantom
from dcan.steps import phantom as step

SHAPE = (7, 61, 83)


@pytest.mark.parametrize("strip", [1 << 21, 500])
def test_files_hold_the_volume_whatever_the_strips(tmp_path, monkeypatch, strip):
    monkeypatch.setattr(step, "_STRIP", strip)
    seen = []
    folder = tmp_path / "a" / "b"
    paths = step.write_phantom(folder, SHAPE, 4, membrane=True, report=lambda *at: seen.append(at))
    assert paths == [folder / f"{name}.tif" for name in ("em", "neurites", "membrane")]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert seen == [(z + 1, 7) for z in range(7)]
    expected = phantom.render(SHAPE, 4, Box.whole(SHAPE))
    volumes = [expected.em, expected.neurites, phantom.membrane(SHAPE, 4, Box.whole(SHAPE))]
    for path, volume in zip(paths, volumes, strict=True):
        with tifffile.TiffFile(path) as file:
            assert file.is_bigtiff
            assert len(file.pages) == 7
            written = file.asarray()
        assert written.dtype == volume.dtype
        assert (written == volume).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 1), (2, 3, 5)])
def test_tiny_volumes_without_a_map(tmp_path, shape):
    paths = step.write_phantom(tmp_path, shape, 0, report=lambda *_: None)
    assert [path.name for path in paths] == ["em.tif", "neurites.tif"]
    for path, volume in zip(paths, phantom.render(shape, 0, Box.whole(shape)), strict=True):
        written = np.stack([page.asarray() for page in tifffile.TiffFile(path).pages])
        assert written.size == volume.size
        assert (written.reshape(shape) == volume).all()


@pytest.mark.parametrize("name", ["em.tif", "neurites.tif", "membrane.tif"])
def test_existing_files_are_left_alone(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(DcanError, match=rf"{name} exists: remove it"):
        step.write_phantom(tmp_path, SHAPE, 0, membrane=True, report=lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    place = tmp_path / "file"
    place.write_bytes(b"")
    with pytest.raises(DcanError, match="is a file"):
        step.write_phantom(place, SHAPE, 0, report=lambda *_: None)


def test_an_empty_shape_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(DcanError, match="empty axis"):
        step.write_phantom(tmp_path / "new", (3, 0, 4), 0, report=lambda *_: None)
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_of_an_attempt_that_failed(tmp_path):
    def stop(done, _):
        if done == 2:
            assert all(path.name.endswith(".partial") for path in tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step.write_phantom(tmp_path, SHAPE, 0, report=stop)
    assert list(tmp_path.iterdir()) == []
