"""The YAML of a configuration: scalars of YAML 1.2, no aliases, no tags, no doubled keys.

Without aliases and tags a text cannot stand for more than it holds, nor for code.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from dcan.errors import DcanError

DEEPEST = 32  # levels; the model has five
DIGITS = 30  # of an integer

_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]
_TEXT = "tag:yaml.org,2002:str"


def _at(node: yaml.Node | yaml.Event) -> str:
    mark = node.start_mark
    return f"line {mark.line + 1}" if mark else "somewhere"


class _Loader(yaml.SafeLoader):
    """`no` is text, `010` is ten, `1e-3` is a number; raises DcanError for what is refused."""

    yaml_implicit_resolvers: _Resolvers = {}  # noqa: RUF012  (as in its base)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise DcanError(f"{_at(event)}: *{event.anchor} is an alias: write the value out")
        if event.tag is not None:
            raise DcanError(f"{_at(event)}: {event.tag} is a tag: write the plain value")
        if self.depth == DEEPEST:
            raise DcanError(f"{_at(event)}: more than {DEEPEST} levels deep: the model has five")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _TEXT:
                given = f"key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
                raise DcanError(f"{_at(key)}: {given} is not text: give the name of a key")
            if key.value in seen:
                raise DcanError(f"{_at(key)}: key '{key.value}' is given twice: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if len(text) > DIGITS:
            raise DcanError(f"{_at(node)}: a number of {len(text)} digits: give a smaller one")
        return int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", list("tfTF")),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or YAML 1.2 would take for something else."""

    yaml_implicit_resolvers: _Resolvers = {  # noqa: RUF012  (as in its base)
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }


def read(text: str) -> object:
    """The value that a YAML text holds; None for an empty one.

    Raises DcanError, without the name of the file: not YAML, an alias, a tag, a key that is
    doubled or not text, nested too deep, an integer too long.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise DcanError(
            f"{where}not valid YAML ({error.problem or error.context}): mend it; keys of a section "
            "are indented alike, by spaces, and a colon is followed by a space"
        ) from None
    except yaml.YAMLError as error:
        raise DcanError(f"not valid YAML ({error}): give a text file without such signs") from None


def dump(plain: object) -> str:
    """YAML that `read`, and any reader of YAML 1.1, gives back as it was."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
