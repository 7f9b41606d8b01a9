"""For MkDocs: an entry of the navigation that names a folder stands for its pages, in order."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Called by MkDocs with its configuration."""
    config["nav"] = [_whole(Path(config["docs_dir"]), item) for item in config["nav"]]
    return config


def _whole(docs: Path, item: Any) -> Any:
    if isinstance(item, list):
        return [_whole(docs, one) for one in item]
    if isinstance(item, dict):
        return {title: _whole(docs, under) for title, under in item.items()}
    if item.endswith("/"):
        return [str(page.relative_to(docs)) for page in sorted((docs / item).glob("*.md"))]
    return item
