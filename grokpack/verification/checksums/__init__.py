"""Expected checksums: manifests, sha256 lists, torrents and hubs."""
