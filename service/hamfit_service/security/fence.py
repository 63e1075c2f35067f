"""A fence around folders: which real paths are inside, and whether a folder leads out through links in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class LeadsOut(Exception):
    """A folder holds something that a job may not read."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Folders that may be read, all of them real paths."""

    roots: Sequence[Path]
    """What is inside of one of these is inside of the fence."""
    own: Path | None = None
    """The service's own folder, which is outside even where it lies in a root."""

    def holds(self, path: Path) -> bool:
        """Whether a real path is inside, and not hidden there.

        The service's folder may lie in a root, or a root in the service's folder: the innermost of them counts.
        """
        around = [root for root in self.roots if path.is_relative_to(root)]
        if not around:
            return False
        innermost = max(around, key=lambda root: len(root.parts))
        if self.own is not None and path.is_relative_to(self.own) and len(self.own.parts) >= len(innermost.parts):
            return False
        return not any(part.startswith(".") for part in path.relative_to(innermost).parts)

    def search(self, folder: Path) -> None:
        """Raises LeadsOut when anything in a real folder, or where its links lead, is outside or no file or folder.

        Links that lead nowhere and links that lead out give the same answer. Raises OSError when it cannot be searched.
        """
        waiting, seen = [str(folder)], {str(folder)}
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_symlink():
                        target = self._follow(entry)
                        if target is not None and target not in seen:
                            seen.add(target)
                            waiting.append(target)
                    elif not entry.is_file(follow_symlinks=False):
                        raise LeadsOut(f"{entry.name} in it is neither file nor folder")

    def _follow(self, link: os.DirEntry[str]) -> str | None:
        """The folder that a link leads to; None when that is a file."""
        refusal = LeadsOut(f"the link {link.name} in it leads to nothing that jobs may read")
        try:
            target = Path(os.path.realpath(link.path, strict=True))
            if not self.holds(target):
                raise refusal
            mode = target.lstat().st_mode
        except OSError as error:
            raise refusal from error
        if stat.S_ISDIR(mode):
            return str(target)
        if not stat.S_ISREG(mode):
            raise refusal
        return None
