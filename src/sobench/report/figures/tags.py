"""Tags of the artists of a figure: which method each belongs to, and as what, kept as matplotlib's `gid`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist

LINE, DIVERGED, BAND, PUBLISHED, END, BAR = "line", "diverged", "band", "published", "end", "bar"
"""What an artist is: a whole line, a line that diverges, an area around a line, published values, a mark at the end of
a line, a bar of an error."""
_OF = " of "


def tag(kind: str, method: str) -> str:
    """The tag of an artist of a method, or of another entry of the legend."""
    return f"{kind}{_OF}{method}"


def kind_of(artist: Artist) -> str:
    """One of the kinds; "" for an artist without a tag."""
    kind, of, _ = (artist.get_gid() or "").partition(_OF)
    return kind if of else ""


def owner_of(artist: Artist) -> str:
    """The method of an artist, or the other entry of the legend; "" for an artist without a tag."""
    return (artist.get_gid() or "").partition(_OF)[2]
