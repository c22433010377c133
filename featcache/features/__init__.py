"""From a request to arrays: which space serves it, views, folds, standardised features."""
