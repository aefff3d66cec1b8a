"""How a model lies in the files of a format: finding it, surveying it, laying it out anew."""
