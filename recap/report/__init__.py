"""`recap report`: runs as one page that is read without anything else, and its figures in MLflow."""
