"""Reads a page as a person or a browser would: its text, its tables, and every address and active element."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "link", "img", "input", "hr", "base"}


class Reading(HTMLParser):
    """What one HTML page holds; raises AssertionError when its tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.sections: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[tuple[str, str | None]] = []
        self._words: list[str] = []
        self._table = ""
        self.feed(page)
        self.close()
        assert not self._open, f"left open: {self._open}"

    @property
    def text(self) -> str:
        """The visible words, with every kind of white space made one plain space."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in named.items()]
        if tag == "table":
            self._table = named.get("id", "")
            self.tables[self._table] = []
        if tag == "tr" and "tbody" in [name for name, _ in self._open]:
            self.tables[self._table].append([])
        if tag == "td":
            self.tables[self._table][-1].append("")
        if tag not in _VOID:
            self._open.append((tag, named.get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if "style" in tags:
            return
        self._words.append(data)
        clean = " ".join(data.split())
        for tag, name in self._open:
            if tag == "section" and name and clean:
                self.sections[name] = f"{self.sections.get(name, '')} {clean}".strip()
        if "td" in tags and clean:
            cells = self.tables[self._table][-1]
            cells[-1] = f"{cells[-1]} {clean}".strip()
