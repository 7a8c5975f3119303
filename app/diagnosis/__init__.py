"""Why is the loss flat? Rules that read a run's curves and facts and answer with evidence; pure, a family a module."""
