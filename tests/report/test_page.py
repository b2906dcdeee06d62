"""The page: self-contained, whole, safe against its own data, the same every time."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

from dcan.ops.definitions import MISTAKES
from dcan.report import overlays
from dcan.report.jobs import StageJobs
from dcan.report.learned import (
    Calibration,
    Fusion,
    GivenWeights,
    Member,
    Precision,
    Training,
    TrainingRecord,
    Trial,
)
from dcan.report.marks import MISTAKE_COLOURS
from dcan.report.page import render
from dcan.report.records import Drift, Linking, LinkRule, Output, Report, Stage, VolumeFacts
from dcan.report.samples import SampleRow
from dcan.report.scored import Absent, Curve, Fault, MapScores, Metrics, NeuriteScores, Score
from dcan.report.wording import DASH

HOSTILE = (
    "</td></style></title></svg><script>alert(1)</script><img src=x onerror=alert(2)>"
    '"\'><a href="javascript:alert(3)">{{ 7 * 7 }}{% raw %}&lt;\ud800\x00\u202e'
)
TIMES = "\N{MULTIPLICATION SIGN}"
VOID = {"meta", "link", "img", "br", "hr", "input"}
DEFINITIONS = {
    "rand_error": "One minus the greatest F of pairs of pixels, truth 0 left out.",
    "warping_error": "Splits and mergers left after warping the truth, per pixel.",
    "pixel_error": "One minus the greatest F of neurite pixels.",
    "vrand_thin": "F of pairs after thinning, mean of the sections.",
    "vinfo_thin": "F of information after thinning, mean of the sections.",
    "adapted_rand_error": "One minus F of pairs of voxels in 3-D.",
    "voi_split": "H(found | truth) in bits.",
    "voi_merge": "H(truth | found) in bits.",
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def volume() -> VolumeFacts:
    return VolumeFacts(
        name="fly brain",
        source="data/stack.tif",
        shape=(30, 512, 600),
        voxel_nm=(50.0, 4.0, 4.0),
        dtype="uint8",
        missing=(11,),
        versions={"dcan": "1.2", "numpy": "2.4"},
        settings={"segmentation": {"w_f": "auto", "sigma": 1.5}, "truth": None},
    )


def metrics() -> Metrics:
    return Metrics(
        scores={
            "p": MapScores(
                Score(0.0781, 0.5),
                Score(0.000412, 0.4),
                Score(0.0485, 0.5),
                Score(0.9717, 0.6),
                Score(0.98, 0.6),
            ),
            "fused": MapScores(Score(0.0163, 0.7), None, None, Score(0.9838, 0.7), None),
            "segments": MapScores(Score(0.0171)),
        },
        definitions=DEFINITIONS,
        evaluated=(20, 21, 22, 24),
        seen=(0, 1, 2, 24),
        neurites=NeuriteScores(
            0.21,
            0.83,
            0.44,
            worst_splits=(Fault(77, 5, 120034, (20, 30, 41)),),
            worst_merges=(Fault(2**60 + 1, 3, 9000),),
            pieces=1.375,
        ),
        curves={
            "p": Curve((0.1, 0.5, 0.9), (0.3, 0.0781, 0.2)),
            "fused": Curve((0.1, 0.5, 0.9), (0.1, 0.0163, 0.09)),
        },
        mistakes={
            "p": dict(zip(MISTAKES, (61, 13, 250, 7, 1, 44), strict=True)),
            "fused": dict(zip(MISTAKES, (9, 12345, 18, 0, 3, 5), strict=True)),
        },
        without_tissue=7001,
    )


def calibration() -> Calibration:
    return Calibration(
        chosen=Fusion(1.5, 8.0, 0.7, 0.3),
        origin="the grid search on truth",
        trials=tuple(
            Trial(Fusion(s, d, w, t), 0.02 + abs(w - 0.7) / 9 + abs(t - 0.3) / 5 + abs(d - 8) / 99)
            for s, d, w, t in product(
                (1.0, 1.5), (3.0, 8.0), (0.3, 0.5, 0.7, 0.9), (0.1, 0.2, 0.3, 0.5)
            )
        ),
        warnings=("sigma is optimal at the edge of its grid",),
        sections=(15, 16, 17),
        seen=(0, 1, 2),
        weights_sha256="ab" * 32,
        precision=Precision("torch", "bfloat16", 3, 0.125, 0.00125, 0.0203, 0.0201),
    )


def training() -> Training:
    records = tuple(
        TrainingRecord(
            step,
            2 / (1 + step / 50),
            0.7 / (1 + step / 60),
            {"C1": 0.9 / (1 + step / 70), "C2": 0.8, "C3": 0.7},
            0.01 if step < 150 else 0.001,
            1.0 if step < 100 else 0.1,
            *((0.5 / (1 + step / 80), 0.1 + step / 1e4) if step % 50 == 0 else (None, None)),
        )
        for step in range(0, 301, 10)
    )
    row = SampleRow("creases", *(tuple(np.full((9, 9), v, np.uint8) for v in (0, 2)),) * 2)
    networks = (Member("member 1", records, 250), Member("member 2", records, 300))
    return Training(networks, (0, 1, 2), samples=(row,))


def overlay(section: int = 20) -> overlays.Overlay:
    y, x = np.mgrid[:48, :60]
    truth = (1 + y // 16 + 3 * (x // 20)).astype(np.uint64)
    segments = (1 + y // 24 + 3 * (x // 20)).astype(np.uint64)
    membrane = np.where(overlays._outline(truth), 230, 10).astype(np.uint8)
    em = (255 - membrane // 2).astype(np.uint8)
    mistakes = ((y == 20) * (x % 17)).clip(0, 6).astype(np.uint8)
    return overlays.Overlay(section, em, membrane, segments, segments + 5, truth, mistakes)


def everything() -> Report:
    return Report(
        volume=volume(),
        metrics=metrics(),
        calibration=calibration(),
        training=training(),
        linking=Linking(
            *(5123, 321, 4700, 102, 211, 17, 5, 12, 29),
            rule=LinkRule(0.3, 0.8, 1, "the defaults"),
            bridged=(11,),
            drift=(Drift(0, 1, -2), Drift(1, 0, 3)),
        ),
        overlays=(overlay(20), replace(overlay(24), seen=True)),
        stages=(
            Stage(
                *("predict", 24, 96, 3 << 20, 75.0, 9_216_000),
                skipped=3,
                tiles=2412,
                tiles_skipped=305,
            ),
            Stage("fuse", 24, failed=("0:8,0:256,0:256", "8:16,0:256,0:256")),
        ),
        jobs=(
            StageJobs(
                *("flood", 40, 600.0, 75.0, 61.0, 5 << 20, 3 << 20, 4 << 20),
                *((("8:16,0:64,0:64", 9.0), ("0:8,0:64,0:64", 8.0)), 4.0, 2),
            ),
            StageJobs("predict", 2, 90.0, 50.0, busy=0.934),
            StageJobs("survey", 1, 1.5, 1.5),
        ),
        outputs=(Output("results/fly/em.ome.zarr", "EM and labels, OME-Zarr 0.5"),),
        viewers=("napari results/fly/em.ome.zarr",),
    )


def nothing() -> Report:
    return Report(
        replace(volume(), missing=()),
        Absent("no truth is configured"),
        Absent("nothing was fused"),
        GivenWeights("models/wide.safetensors", "cd" * 32),
        Absent("segmentation.link is off"),
    )


def hostile() -> Report:
    h = HOSTILE
    facts = replace(
        volume(), name=h, source=h, dtype=h, versions={h: h}, settings={h: {h: [h, {"a": h}]}}
    )
    numbers = metrics()
    return replace(
        everything(),
        volume=facts,
        metrics=replace(
            numbers,
            scores={h: numbers.scores["p"], **numbers.scores},
            definitions=dict.fromkeys(DEFINITIONS, h),
            curves={h: numbers.curves["p"]},
            neurites=Absent(h),
        ),
        calibration=replace(calibration(), origin=h, warnings=(h,), weights_sha256=h),
        training=replace(
            training(),
            members=(replace(training().members[0], name=h),),
            samples=(replace(training().samples[0], name=h),),
        ),
        stages=(Stage(h, failed=(h,)),),
        jobs=(StageJobs(h, 1, 1.0, 1.0, slowest=((h, 1.0),)),),
        outputs=(Output(h, h),),
        viewers=(h,),
    )


@pytest.fixture(scope="module")
def html() -> str:
    return render(everything())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def attacked_html() -> str:
    return render(hostile())


@pytest.fixture(scope="module")
def attacked(attacked_html: str) -> Page:
    return Page(attacked_html)


def assert_loads_nothing(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for tag, attributes in page.tags:
        assert tag not in {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
        assert not [key for key in attributes if key.startswith("on")]
        for key, value in attributes.items():
            if key.rpartition(":")[2] in {"src", "href", "action", "srcset", "data", "poster"}:
                assert value.startswith("data:image/png;base64,") or value[1:] in ids, (tag, value)
                assert value.startswith(("data:", "#"))
            if key == "style":
                assert not re.search(r"url\((?!#)|@import|expression", value)


def test_page_loads_nothing_and_says_so_to_the_browser(html: str, page: Page) -> None:
    assert_loads_nothing(page)
    (policy,) = [m for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'; img-src data:; style-src 'unsafe")
    assert "script-src" not in policy["content"]
    assert not re.findall(r"url\((?!#)|@import", html)
    assert html.startswith("<!doctype html>")


def test_ids_are_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "text",
    [
        f"30 {TIMES} 512 {TIMES} 600 voxels (z, y, x) of 50 {TIMES} 4 {TIMES} 4 nm",
        f"sections of 2.0 {TIMES} 2.4 µm",
        "0.0781",
        "threshold 0.5",
        "0.000412",
        "0.98380",
        *DEFINITIONS.values(),
        "120 034",
        "20, 30, 41",
        "1152921504606846977",
        "the grid search on truth",
        "The best 20 of 64 trials",
        "ab" * 32,
        "0.0200 chosen",
        "Calibration: sigma is optimal at the edge of its grid",
        "Sections trained on: 0-2. Sections for validation: none.",
        "Losses of member 2",
        "3.0 MiB 1 min 15 s 0.12",
        "predict 24 3 0 96",
        "predict: 2 412 tiles went through the network, 305 without tissue were skipped.",
        "The metrics leave out 7 001 pixels of the evaluated sections, which have no tissue",
        "Failed blocks of stage fuse: 2.",
        "flood 40 1 min 1 s 1 min 15 s 10 min 0 s 3.0 MiB 4.0 MiB 5.0 MiB "
        f"{DASH} 2 4.0 s 8:16,0:64,0:64 9.0 s, 0:8,0:64,0:64 8.0 s",
        f"predict 2 {DASH} 50.0 s 1 min 30 s {DASH} {DASH} {DASH} 93% 0 {DASH} {DASH}",
        f"survey 1 {DASH} 1.5 s 1.5 s {DASH} {DASH} {DASH} {DASH} 0 {DASH} {DASH}",
        "8:16,0:256,0:256",
        "Sections without tissue: 11.",
        "results/fly/em.ome.zarr",
        "napari results/fly/em.ome.zarr",
        "w_f: auto",
        "Drift from section z to z + 1",
        "4 700 102 211 321 17 5 11",
        "mean 16.0, median 12, most 29",
        "from an IoU of 0.3, branches from a containment of 0.8, unless they would have united "
        "neurites with more than 1 common section. Values from the defaults.",
        "in 1.38 pieces on average",
        "hole_addition 250 18 the proposal makes a hole in an object",
        "merge 13 12 345 the proposal joins objects",
        "Warping mistakes of the fused map",
        "object deletion, the proposal loses an object.",
    ],
)
def test_page_shows(page: Page, text: str) -> None:
    assert text in page.text


def test_memory_beyond_the_plan_and_failures_stand_out(html: str) -> None:
    row = re.search(r"flood</th>.*?</tr>", html)
    assert row
    assert re.findall(r'class="n bad">(.*?)<', row[0]) == ["5.0 MiB", "2"]


def test_every_table_of_metrics_marks_sections_seen_in_training(html: str) -> None:
    captions = re.findall(r"<caption>(Sections evaluated.*?)</caption>", html)
    assert len(captions) == 2
    for caption in captions:
        assert "20-22, 24" in caption
        assert '<strong class="seen">seen in training: 24</strong>' in caption
    clean = render(replace(everything(), metrics=replace(metrics(), seen=(0, 1, 19))))
    assert "seen in training: " not in clean
    assert clean.count("none seen in training") == 4
    used = replace(calibration(), seen=(16, 17))
    dirty = render(replace(everything(), calibration=used))
    assert dirty.count('15-17 <strong class="seen">seen in training: 16-17</strong>') == 2


def test_what_is_not_known_is_not_said_to_be_unseen() -> None:
    unknown = replace(
        everything(),
        metrics=replace(metrics(), seen=None),
        calibration=replace(calibration(), seen=None),
    )
    page = render(unknown)
    assert page.count('<strong class="seen">not known whether seen in training</strong>') == 4
    assert "none seen in training" not in page
    assert "It is not known whether the network was trained on sections of the metrics." in page


def test_the_best_of_a_row_is_bold_by_the_metric_s_own_direction(html: str) -> None:
    assert "<strong>0.0163</strong>" in html
    assert "<strong>0.98380</strong>" in html
    assert "<strong>0.0781</strong>" not in html
    assert "<strong>0.97170</strong>" not in html
    assert "<strong>0.000412</strong>" not in html


def test_pictures_are_layers_over_one_em(page: Page) -> None:
    images = page.named("image")
    pictures = [one for one in images if one.get("preserveaspectratio") == "none"]
    bases = [one for one in pictures if "id" in one]
    assert [one["id"] for one in bases] == ["em-1", "em-2"]
    assert len(pictures) == 2 * 7
    uses = [one["href"] for one in page.named("use") if one.get("href", "").startswith("#em-")]
    assert uses == ["#em-1"] * 6 + ["#em-2"] * 6
    encoded = bases[0]["href"].removeprefix("data:image/png;base64,")
    decoded = np.asarray(Image.open(BytesIO(base64.b64decode(encoded))))
    assert np.array_equal(decoded, overlay().em)
    assert (bases[0]["width"], bases[0]["height"]) == ("240.0", "192.0")
    assert "50 nm" in page.text


def test_mistakes_have_a_legend_where_they_are_shown(html: str) -> None:
    for kind, (red, green, blue) in MISTAKE_COLOURS.items():
        key = rf'rgb\({red}, {green}, {blue}\)"></span>{kind.replace("_", " ")}, {MISTAKES[kind]}'
        assert re.search(key, html)
    bare = tuple(replace(one, mistakes=None) for one in everything().overlays)
    assert "each a square around its pixel" in html
    assert "each a square around its pixel" not in render(replace(everything(), overlays=bare))


def test_parts_that_are_absent_say_why() -> None:
    page = Page(render(nothing()))
    assert_loads_nothing(page)
    for reason in ("no truth is configured", "nothing was fused", "segmentation.link is off"):
        assert f"Not in this report: {reason}." in page.text
    assert "models/wide.safetensors" in page.text
    assert "cd" * 32 in page.text
    assert "Before you rely on it" not in page.text
    assert not page.named("svg")


def test_a_training_without_validation_has_no_empty_chart_of_it() -> None:
    given = training()
    records = tuple(replace(r, validation=None, rand_error=None) for r in given.members[0].records)
    unseen = replace(given, members=(replace(given.members[0], records=records),))
    pages = [Page(render(replace(nothing(), training=found))) for found in (given, unseen)]
    assert ["Validation of" in page.text for page in pages] == [True, False]
    assert "Losses of" in pages[1].text


def test_given_values_are_shown_without_a_search() -> None:
    given = Calibration(Fusion(1.0, 3.0, 0.5, 0.25), "segmentation.calibration: other.json")
    page = Page(render(replace(nothing(), calibration=given)))
    assert "Values from segmentation.calibration: other.json." in page.text
    assert "0.25 t, the threshold" in page.text
    assert "trials" not in page.text


def test_what_the_precision_changes_is_told(page: Page) -> None:
    assert (
        "computed in bfloat16 by torch. Against float32, on 3 of the sections: p differs by 0.125 "
        "at most and 0.00125 on the mean; Rand error of the segments 0.0203, in float32 0.0201."
    ) in page.text


def test_hostile_text_is_shown_as_text(attacked: Page) -> None:
    assert_loads_nothing(attacked)
    assert attacked.text.count("<script>alert(1)</script>") >= 20
    assert attacked.text.count("{{ 7 * 7 }}{% raw %}&lt;") >= 20
    assert attacked.text.count(r"\ud800\x00\u202e") >= 19
    assert "49" not in attacked.named("title")
    assert not [a for tag, a in attacked.tags if tag == "a" and a["href"].startswith("java")]


def test_hostile_text_adds_no_element(page: Page, attacked: Page) -> None:
    assert {tag for tag, _ in attacked.tags} <= {tag for tag, _ in page.tags}
    keys = {key for _, attributes in page.tags for key in attributes}
    assert {key for _, attributes in attacked.tags for key in attributes} <= keys


def test_page_can_be_written_as_utf8(attacked_html: str) -> None:
    assert "\\ud800\\x00\\u202e" in attacked_html.encode("utf-8").decode("utf-8")


def test_equal_reports_give_equal_pages(html: str) -> None:
    assert render(everything()) == html


def test_a_number_without_a_definition_is_refused() -> None:
    with pytest.raises(ValueError, match="voi_merge"):
        replace(metrics(), definitions={k: v for k, v in DEFINITIONS.items() if k != "voi_merge"})
    with pytest.raises(ValueError, match="pixel_error"):
        replace(metrics(), definitions={k: v for k, v in DEFINITIONS.items() if k != "pixel_error"})
