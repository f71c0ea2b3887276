"""Chapter 3: the motion-excited sampler."""
