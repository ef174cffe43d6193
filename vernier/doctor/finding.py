"""What the doctor says of one thing."""

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: `good`; `note` when serving works but perhaps not as wanted; `wrong` when it does not work.
        found: what was seen.
        remedy: how to mend it; empty when there is nothing to mend.
    """

    what: str
    state: State
    found: str
    remedy: str = ""
