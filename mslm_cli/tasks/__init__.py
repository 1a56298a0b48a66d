"""What an encoder is fine-tuned for: the interface of a task, the table of tasks, and the tasks themselves."""
