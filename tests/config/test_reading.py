"""Configuration files: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcan.config import Config, load, parse, schema, write
from dcan.errors import DcanError

ROOT = Path(__file__).parents[2]
BASE = "volume: {name: a, source: em.tif, voxel_size: [50, 4, 4]}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "volume.yaml"


def read(file: Path, text: str | bytes, over: dict[str, Any] | None = None) -> Config:
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load(file, over)


def refused(file: Path, text: str | bytes, over: dict[str, Any] | None = None) -> str:
    """The refusal without its beginning; in one line, within 5 s of work, fit for a terminal."""
    began = time.process_time()
    with pytest.raises(DcanError) as caught:
        read(file, text, over)
    assert time.process_time() - began < 5
    line = str(caught.value)
    assert line.startswith(f"configuration {file}")
    assert line.isprintable()
    assert len(line) < 600
    return line.removeprefix(f"configuration {file}").lstrip(":, ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BASE + "trainin: {}\n", "unknown key 'trainin': did you mean 'training'?"),
        (BASE + "training: {stesp: 5}\n", "unknown key 'training.stesp': did you mean 'steps'?"),
        (BASE + "sigma: 1\n", "unknown key 'sigma': did you mean 'segmentation.sigma'?"),
        (BASE + "blocks: {qqq: 1}\n", "unknown key 'blocks.qqq': known here: shape, batches"),
        (
            "volume: {name: a, source: {path: x, datset: y}, voxel_size: [50, 4, 4]}\n",
            "unknown key 'volume.source.datset': did you mean 'dataset'?",
        ),
        (
            "volume: {name: a, source: {dataset: y}, voxel_size: [50, 4, 4]}\n",
            "key 'volume.source.path' is missing: add it",
        ),
        (
            "volume: {name: a, source: {path: 5}, voxel_size: [50, 4, 4]}\n",
            "volume.source.path is 5: give text",
        ),
        (
            "volume: {name: a, source: 5, voxel_size: [50, 4, 4]}\n",
            "volume.source is 5: give text or some of the keys path, dataset",
        ),
        ("volume: {name: a, source: x}\n", "key 'volume.voxel_size' is missing: add it"),
        ("output: x\n", "key 'volume' is missing: add it"),
        (
            BASE + "training: {volumes: [{source: x, truht: {}}]}\n",
            "unknown key 'training.volumes.0.truht': did you mean 'truth'? (and 1 more)",
        ),
        (BASE + "training:\n", "training is empty: give some of the keys volumes, steps, "),
        (BASE + "training: 7\n", "training is 7: give some of the keys volumes, steps, "),
        (BASE + "blocks: {shape: [8, 512]}\n", "blocks.shape is [8, 512]: give three numbers"),
        (BASE + "segmentation: {t: high}\n", "segmentation.t is \"high\": give a number or 'auto'"),
        (BASE + "segmentation: {t: 2}\n", "segmentation.t is 2: give 1 or less or 'auto'"),
        (BASE + "segmentation: {t: 1e400}\n", "segmentation.t is Infinity: give a finite number"),
        (BASE + "segmentation: {t: no}\n", 'segmentation.t is "no": give a number'),
        (BASE + "truth: {source: x, kind: neurites, sections: 12}\n", "truth.sections is 12: give"),
    ],
)
def test_a_mistake_is_named_by_key_value_and_rule(file: Path, text: str, line: str) -> None:
    assert refused(file, text).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BASE + '"a\\e[31mb": 1\n', r"unknown key 'a\u001b[31mb': "),
        (BASE + 'training: {rule: "\\e[31m"}\n', r'training.rule is "\u001b[31m": give'),
        (BASE + "volume2: {}\n" + "x" * 70 + ": 1\n", "unknown key 'volume2'"),
        (BASE + "x" * 70 + ": 1\n", f"unknown key '{'x' * 57}...'"),
        (
            BASE + f"training: {{steps: [{'1,' * 40}]}}\n",
            "training.steps is [1, 1, 1, 1, 1, 1, 1, 1, ...]",
        ),
        (BASE + "training: {steps: {a: 1, b: [1]}}\n", "training.steps is {a, b}: give an integer"),
        (
            BASE + "training: {steps: [[1], {a: 1}]}\n",
            "training.steps is [..., ...]: give an integer",
        ),
        ("#" * (1 << 16) + "\n" + BASE, "larger than 65536 bytes"),
    ],
)
def test_keys_and_values_are_shown_short_and_harmless(file: Path, text: str, line: str) -> None:
    assert refused(file, text).startswith(line)


def test_how_many_more_counts_keys(file: Path) -> None:
    text = BASE + "segmentation: {t: 2, w_f: 3, sigma: 99}\nblocks: {batches: 0}\n"
    assert refused(file, text).endswith("(and 3 more)")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("volume: {name: a, name: b}\n", "line 1: key 'name' is given twice: keep one"),
        (BASE + "output: a\noutput: b\n", "line 3: key 'output' is given twice"),
        (
            BASE + "truth:\n  source: {path: x,\n    path: y}\n",
            "line 4: key 'path' is given twice",
        ),
        (BASE + "training:\n  volumes:\n  - {source: a, source: b}\n", "line 4: key 'source'"),
        (BASE + "'output': a\noutput: b\n", "line 3: key 'output' is given twice"),
        (BASE + "1: x\n", "line 2: key 1 is not text"),
        (BASE + "true: x\n", "line 2: key true is not text"),
        (BASE + "~: x\n", "line 2: key ~ is not text"),
        ("? \n: x\n", "line 1: key is not text"),
        (BASE + "training: {2.5: x}\n", "line 2: key 2.5 is not text"),
        (BASE + "? [a, b]\n: x\n", "line 2: a key is not text"),
        (BASE + "? {a: b}\n: x\n", "line 2: a key is not text"),
        (BASE + "output: &x y\nmodel: {weights: *x}\n", "line 3: *x is an alias"),
        ("a: &a {name: x}\nvolume: {<<: *a}\n", "line 2: *a is an alias"),
        (BASE + "training: {<<: {steps: 5}}\n", "unknown key 'training.<<'"),
        (BASE + "training: {!!merge <<: {steps: 5}}\n", "line 2: tag:yaml.org,2002:merge is a tag"),
        (BASE + "output: !!python/object/apply:os.system [id]\n", "line 2: tag:yaml.org"),
        (BASE + "output: !!python/name:os.system\n", "line 2: tag:yaml.org"),
        (BASE + "output: !!timestamp x\n", "line 2: tag:yaml.org,2002:timestamp is a tag"),
        (BASE + "output: !!bool x\n", "line 2: tag:yaml.org"),
        (BASE + "output: !!binary x\n", "line 2: tag:yaml.org"),
        (BASE + "output: !!set {a}\n", "line 2: tag:yaml.org"),
        (BASE + "output: !mine x\n", "line 2: !mine is a tag"),
        (BASE + "output: ! x\n", "line 2: ! is a tag"),
        (BASE + "training: {steps: " + "9" * 5000 + "}\n", "line 2: a number of 5000 digits"),
        (BASE + "training: {steps: " + "9" * 400 + "}\n", "line 2: a number of 400 digits"),
        (BASE + "a: b: c\n", "line 2: not valid YAML"),
        (BASE + "\toutput: x\n", "line 2: not valid YAML"),
        (BASE + "output: 'x\n", "line 3: not valid YAML"),
        (BASE + "--- \nb: 1\n", "line 2: not valid YAML"),
        (BASE + "output: {a: [1, 2}\n", "line 2: not valid YAML"),
        (BASE + "%TAG ! tag:x,2000:\n", "line"),
        (BASE + "output: \x07\n", "not valid YAML"),
        ("", "holds no keys: start from config/volume.yaml"),
        ("# nothing\n", "holds no keys"),
        ("---\n", "holds no keys"),
        ("- volume\n", "holds no keys"),
        ("volume\n", "holds no keys"),
        ("null\n", "holds no keys"),
        (b"\xff\xfe\x00v", "not UTF-8 text"),
        (BASE.encode("utf-16"), "not UTF-8 text"),
        (b"volume: \xe9\n", "not UTF-8 text"),
        (b"volume: \0\n", "not valid YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(file: Path, text: str | bytes, line: str) -> None:
    assert refused(file, text).startswith(line)


BOMBS = {
    "aliases": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "itself": "a: &a [*a]\n",
    "merges": "a: &a {x: 1}\n" + "".join(f"b{i}: {{<<: [*a, *a, *a]}}\n" for i in range(500)),
    "lists": "a: " + "[" * 30000,
    "maps": "a: " + "{a: " * 10000,
    "indents": "\n".join(" " * i + "a:" for i in range(300)),
    "dashes": "- " * 20000,
    "complex": "? " * 20000,
    "long key": "k" * 60000 + ": 1\n",
    "long value": BASE + "output: [" + "x" * 60000 + "]\n",
    "many keys": "".join(f"k{i}: {i}\n" for i in range(6000)),
    "many items": BASE + "output: [" + "1," * 30000 + "]\n",
    "nested values": BASE + "output: " + "[" * 25 + "]" * 25 + "\n",
    "anchors": "".join(f"k{i}: &a{i} x\n" for i in range(4000)),
    "percent": "%" * 60000,
    "quotes": '"' + "\\" * 60000,
    "spaces": " " * 60000 + "a",
    "large": "#" * (1 << 16) + "\n" + BASE,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_no_text_takes_long_or_much(file: Path, text: str) -> None:
    assert refused(file, text)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path, "not a file"),
        (tmp_path / "none.yaml", "No such file"),
        (Path("/dev/zero"), "not a file"),
        (tmp_path / "pipe", "not a file"),
        (tmp_path / "none.yaml" / "x", "No such file"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "a\0b", "null"),
    ]:
        with pytest.raises(DcanError, match=words):
            load(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("+5", 5),
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        (".inf", ".inf"),
        ("true", True),
        ("~", None),
        ("", None),
        ("null", None),
        ("=", "="),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    from dcan.config import yaml12

    (found,) = yaml12.read(f"- {text}\n")  # type: ignore[misc]
    assert found == value
    assert type(found) is type(value)


def test_a_range_needs_no_quotes_and_a_mark_of_order_does_no_harm(file: Path) -> None:
    text = "\ufeff" + BASE + "truth: {source: x, kind: neurites, sections: 0:12}\n"
    given = read(file, text).truth
    assert given is not None
    assert given.sections == "0:12"


def test_overrides_change_the_keys_they_name_and_keep_the_others(file: Path) -> None:
    text = BASE + "training: {steps: 7, seed: 3}\nblocks: {shape: [1, 2, 3]}\n"
    found = read(file, text, {"training": {"steps": 9}, "blocks": {"shape": [4, 5, 6]}})
    assert (found.training.steps, found.training.seed) == (9, 3)
    assert found.blocks.shape == (4, 5, 6)
    assert read(file, text, {}) == read(file, text)
    assert read(file, text, None).training.steps == 7


def test_overrides_replace_what_is_no_section(file: Path) -> None:
    text = (
        "volume: {name: a, source: {path: x, dataset: y}, voxel_size: [50, 4, 4], missing: [1]}\n"
        "truth: {source: x, kind: neurites, sections: '0:8'}\n"
    )
    found = read(file, text, {"truth": None, "volume": {"source": "z", "missing": []}})
    assert found.truth is None
    assert found.volume.source == "z"
    assert found.volume.missing == []
    nested = read(file, text, {"volume": {"source": {"dataset": "w"}}}).volume.source
    assert nested.model_dump() == {"path": "x", "dataset": "w"}  # type: ignore[union-attr]
    given = read(file, BASE, {"truth": {"source": "q", "kind": "neurites", "sections": "0:4"}})
    assert given.truth is not None


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ({"trainin": {}}, "unknown key 'trainin'"),
        ({"training": {"steps": "many"}}, 'training.steps is "many"'),
        ({1: 2}, "key 1 is not text"),
        ({"training": {None: 2}}, "key training.None is not text"),
        ({"training": {"steps": 10**5000}}, "training.steps is an integer of 16610 bits"),
        ({"training": [1]}, "training is [1]: give some of the keys"),
        ({"output": object}, "output is <class 'object'>: give text"),
    ],
)
def test_overrides_are_checked_as_the_file_is(file: Path, over: dict[Any, Any], line: str) -> None:
    assert refused(file, BASE, over).startswith(line)


LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda text: text.strip() != ""
)
TRICKY = st.sampled_from(
    [
        *(
            "09",
            "1e5",
            "1e-3",
            ".5",
            "no",
            "~",
            "null",
            "0:12",
            "12:30",
            "1_000",
            "0x1F",
            "=",
            "<<",
        ),
        *("'", '"', "%x", "@x", "`x", "!x", "&x", "*x", "{x}", "[x]", "?", "- a", "# x", "a: b"),
        *("a #b", "| x", "> x", " a", "a ", "a  b " * 30, "2020-01-01", "\u00e9\u00a0x", "\u200b"),
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TRICKY | LINES, TRICKY | LINES)
def test_what_is_written_reads_as_it_was(tmp_path: Path, source: str, output: str) -> None:
    plain = {
        "volume": {"name": "09", "source": {"path": source}, "voxel_size": [1e-05, 4, 1e17]},
        "output": output,
        "segmentation": {"t": 0.3, "sigma": 1e-07},
    }
    config = parse(plain, "test")
    path = tmp_path / "sub" / "config.yaml"
    write(config, path)
    assert load(path) == config
    # Snakemake's reader of configurations is one of YAML 1.1
    assert yaml.safe_load(path.read_text("utf-8")) == config.model_dump(mode="json")
    assert [p.name for p in path.parent.iterdir()] == ["config.yaml"]


def test_write_refuses_in_one_line(tmp_path: Path) -> None:
    config = parse(yaml.safe_load(BASE), "test")
    (tmp_path / "file").touch()
    with pytest.raises(DcanError, match=re.escape(str(tmp_path / "file" / "config.yaml"))):
        write(config, tmp_path / "file" / "config.yaml")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60) | st.text("{}[]:,-&*!|>'\"%@`#?~<0a\n \t", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(data)
    with pytest.raises(DcanError):
        load(file)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(Config.model_fields)), VALUES, st.data())
def test_any_value_of_any_key_is_taken_or_refused(
    key: str, value: Any, data: st.DataObject
) -> None:
    plain: dict[str, Any] = yaml.safe_load(BASE)
    field = Config.model_fields[key].annotation
    below = list(getattr(field, "model_fields", {}))
    if below and data.draw(st.booleans()):
        value = {data.draw(st.sampled_from(below)): value}
    with suppress(DcanError):
        parse({**plain, key: value}, "test")


def test_the_shipped_schema_is_that_of_the_model() -> None:
    assert (ROOT / "config" / "schema.json").read_text("utf-8") == schema()
    described = json.loads(schema())
    assert described["additionalProperties"] is False
    assert described["required"] == ["volume"]
    sections = described["$defs"]["Truth"]["properties"]["sections"]
    assert re.fullmatch(sections["pattern"], "0:12")
    assert not re.fullmatch(sections["pattern"], "0-12")
