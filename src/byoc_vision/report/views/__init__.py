"""What each section of the page says, as plain values: the templates only lay it out."""
