"""Registration: two images in, a displacement with everything that follows from it out."""
