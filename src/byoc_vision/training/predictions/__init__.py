"""The predictions for labelled images, image by image: tables, scores, and small images of the ones worth a look."""
