"""Subresources and reviews that are more than a view of their object, one file each; `table` lists them."""
