"""What learns: tasks and rankings from embeddings, votes and completions."""
