"""What people and programs see: text, JSON, progress. Rendering only; nothing is decided here."""
