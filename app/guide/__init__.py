"""The guide to weight decay: what is claimed, what is so, and the experiment that decides; facts once, words in each language."""
