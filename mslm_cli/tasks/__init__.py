"""Tasks for fine-tuning: the interface, the table of tasks, and the tasks themselves."""
