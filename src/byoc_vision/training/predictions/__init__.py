"""What labelled images were answered, image by image: tables, scores, and small images of the telling ones."""
