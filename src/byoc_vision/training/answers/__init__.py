"""What labelled pictures were answered, picture by picture: tables, scores, and small pictures of the telling ones."""
