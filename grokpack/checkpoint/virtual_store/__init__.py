"""Virtual stores: an OCDBT index over files that exist already."""
