"""Galleries: items, their vectors, and exact search over them. Knows no HTTP and no torch."""

from index.checks import check_gallery_name, check_item_id, check_metadata, content_digest
from index.filters import Filter
from index.filters import parse as parse_filter
from index.gallery import Gallery, open_folder, open_gallery
from index.local import GalleryStats, LocalGallery
from index.records import GalleryInfo, Item, Match, NewItem, Outcome, Page, Target
from index.thumbnails import thumbnail

__all__ = [
    "Filter",
    "Gallery",
    "GalleryInfo",
    "GalleryStats",
    "Item",
    "LocalGallery",
    "Match",
    "NewItem",
    "Outcome",
    "Page",
    "Target",
    "check_gallery_name",
    "check_item_id",
    "check_metadata",
    "content_digest",
    "open_folder",
    "open_gallery",
    "parse_filter",
    "thumbnail",
]
