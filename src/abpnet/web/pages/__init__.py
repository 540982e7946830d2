"""The pages of the explorer, laid out by Gradio, which is imported where it is used."""
