"""The pages: one module for each place of the site."""
