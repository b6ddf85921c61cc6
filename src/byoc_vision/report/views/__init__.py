"""The content of each section of the page, as plain values; the templates lay it out."""
