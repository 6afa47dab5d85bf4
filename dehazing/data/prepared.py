"""A dataset whose series was made elsewhere: named by what it is, as its files are not here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PreparedConfig:
    """A series that the store has; its settings were applied when it was made, so there are none left."""

    series: str  # its fingerprint, 16 hex digits
    digest: str  # of the settings and the files that it was made of, as that of its dataset
    kind: Literal["prepared"] = "prepared"

    def __post_init__(self) -> None:
        for name in ("series", "digest"):
            if not re.fullmatch(r"[0-9a-f]{16}", getattr(self, name)):
                raise ValueError(f"`{name}` must be 16 hex digits, but is {getattr(self, name)!r}.")

    def missing(self, where: str) -> ValueError:
        """What to say where the series is asked for and cannot be made; where: was looked for it."""
        return ValueError(
            f"The series {self.series} must be in {where}, as the files that it was made of are elsewhere, but is not; "
            "give `submit` again where they are."
        )
