"""Expected checksums that others published: sha256 lists, torrents and hubs."""
