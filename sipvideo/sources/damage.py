"""What is told of pictures that a decoder had trouble with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Damage:
    """How many pictures were damaged: those that are lost, and those shown as well as the decoder could."""

    lost: int = 0
    shown: int = 0
    ended: bool = False

    def __str__(self) -> str:
        """For people; empty where there is none."""
        lost = f"{self.lost} pictures cannot be decoded and are left out" if self.lost else ""
        shown = (
            f"{self.shown} pictures are damaged and shown as they came out" if self.shown else ""
        )
        return "; ".join(filter(None, (lost, shown)))
