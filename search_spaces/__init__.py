"""Ready-made search spaces. They import only what `automl.__all__` names, as a user's own space would."""
