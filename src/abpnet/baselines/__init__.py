"""What our figures stand beside: other ways to do the same with the same data, one file per experiment."""
