"""Fitting the built-in models; nothing here is needed to run them."""
