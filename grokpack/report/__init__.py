"""Reports: results as text, JSON, HTML, JUnit XML and annotations; nothing is decided here."""
