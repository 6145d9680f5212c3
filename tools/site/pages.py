"""What the site holds: docs/ and the pages at the top of the repository, under the paths that they have there.

MkDocs takes one folder, and a link out of it leads nowhere. Here every page keeps its path in the repository, so that a link
works in a checkout and on the site alike, and MkDocs checks it; README is the home page.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
BESIDE_DOCS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the anchors that code hosts give them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    docs = Path(config.docs_dir)
    found = [file for file in files if not (file.abs_src_path and Path(file.abs_src_path).is_relative_to(docs))]
    ours = [path.relative_to(ROOT).as_posix() for path in sorted(docs.rglob("*")) if path.is_file()]
    for path in (*BESIDE_DOCS, *ours):
        found.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    style = Path(__file__).with_name("site.css")
    found.append(File.generated(config, style.name, abs_src_path=str(style)))
    return Files(found)
