"""Images and labels: data sets, their files, augmented views, who annotates, what was bought."""
