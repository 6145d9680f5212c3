"""Docstrings as Markdown: `>>>` begins an example, and `> 0` says greater than. No page quotes anybody."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.util import AtomicString, code_escape
from mkdocs.config.defaults import MkDocsConfig


class Doctest(BlockProcessor):  # type: ignore[misc]
    """A block that begins with `>>>` is code."""

    def test(self, parent: Element, block: str) -> bool:
        return block.startswith(">>> ")

    def run(self, parent: Element, blocks: list[str]) -> None:
        code = SubElement(SubElement(parent, "pre"), "code")
        code.text = AtomicString(code_escape(blocks.pop(0)) + "\n")


class Docstrings(Extension):  # type: ignore[misc]
    """Puts examples in the place of quotations."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.parser.blockprocessors.deregister("quote")
        md.parser.blockprocessors.register(Doctest(md.parser), "doctest", 20)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.append(Docstrings())
    return config
