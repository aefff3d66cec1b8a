"""Writers of output formats, a module each, and what several of them share."""
