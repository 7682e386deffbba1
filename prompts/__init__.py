"""Every word a model is ever shown: Jinja templates and nothing else."""
