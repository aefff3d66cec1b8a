"""Model code that is copied into Hugging Face folders and run by transformers, never here."""
