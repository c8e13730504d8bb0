"""What a person looks at: the HTML report. It reads `automl.results` and nothing else of a study."""
