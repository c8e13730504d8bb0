"""What is given away with a final model: the script that trains it again, and its model card."""
