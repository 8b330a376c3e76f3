"""From the raw skewed stack to a straight one: the mirror's background and the deskew."""
