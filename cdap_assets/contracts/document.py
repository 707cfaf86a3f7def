"""A contract's YAML with the place of each value in it, so that every error says where. Knows no meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML whose only booleans are true and false, so that ``on:`` is a key and ``NO`` is a country."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


class ContractError(ValueError):
    """A contract that cannot be used: which file, where in it, and what to do about it.

    ``where`` is a line and column with the dotted path, such as
    ``line 31, column 45 (schema[1].properties.net.transformLogic)``.
    """

    def __init__(self, path: Path, where: str, message: str) -> None:
        super().__init__(f"{path}: {where}: {message}" if where else f"{path}: {message}")
        self.path = path
        self.where = where
        self.message = message


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest known name if one is near, then all of them."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    suggestion = f"did you mean {near[0]}? " if near else ""
    return f"{suggestion}known are: {', '.join(names) or 'none'}"


class Document:
    """One YAML file: its ``content`` as plain values, and where each of them stands.

    Raises ContractError when the file is missing, is not UTF-8 or not YAML, repeats a key, or holds no
    mapping at its top.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ContractError(path, "", "there is no such file") from error
        except UnicodeDecodeError as error:
            raise ContractError(path, f"byte {error.start}", "the file is not UTF-8; save it as UTF-8") from error
        root, content = self._loaded(text)
        if not isinstance(root, yaml.MappingNode):
            raise ContractError(path, "line 1", "expected the fields of a data contract (apiVersion, kind, ...)")
        self.content: dict[str, Any] = content
        self._nodes: dict[Place, yaml.Node] = {}
        self._index(root, ())

    def _loaded(self, text: str) -> tuple[yaml.Node | None, Any]:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            return root, loader.construct_document(root) if root is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise ContractError(self.path, where, f"not valid YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date such as 2017-02-30
            raise ContractError(self.path, "", f"not valid YAML: {error}") from error
        finally:
            loader.dispose()

    def _index(self, node: yaml.Node, place: Place) -> None:
        self._nodes[place] = node
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._index(item, (*place, number))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    raise self.error(place, "expected a name before each colon; put quotation marks around it")
                inner = (*place, key.value)
                if inner in self._nodes:
                    self._nodes[inner] = key
                    raise self.error(inner, f"the key {key.value} is written twice; keep one")
                self._index(value, inner)

    def error(self, place: Place, message: str, offset: int = 0) -> ContractError:
        """The error at ``place``, or at the nearest enclosing value that is written in the file.

        ``offset`` counts characters into a text that stands on one line.
        """
        written = place
        while written not in self._nodes and written:
            written = written[:-1]
        if written not in self._nodes:
            return ContractError(self.path, self._dotted(place), message)
        node = self._nodes[written]
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if offset and node.end_mark.line == node.start_mark.line and isinstance(node, yaml.ScalarNode):
            column += offset + (1 if node.style in ("'", '"') else 0)
        return ContractError(self.path, f"line {line}, column {column} ({self._dotted(place)})", message)

    def _dotted(self, place: Place) -> str:
        text = ""
        for position, step in enumerate(place):
            name = None
            if isinstance(step, int):
                label = {"properties": "name", "customProperties": "property"}.get(str(place[position - 1]))
                named = self._nodes.get((*place[: position + 1], label)) if label else None
                name = str(named.value) if named is not None else None
                text += f".{name}" if name else f"[{step}]"
            elif not (step == "value" and position > 1 and place[position - 2] == "customProperties"):
                text += f".{step}" if text else step
        return text or "the contract"
