"""What networks are measured against: logistic regression and boosted trees over the same inputs."""
