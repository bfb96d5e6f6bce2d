"""One sampler a file; each is a function of what was asked and of the arm's other trials."""
