"""What KEEP is compared with: pre-training and then fine-tuning, and learning two domains at once."""
