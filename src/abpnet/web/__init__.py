"""The explorer, `abpnet serve RUN`: a page on this machine that shows what runs have learned.

What is computed are plain functions, arrays in and arrays out; `pages` lays them out by Gradio, `app` joins the pages,
`server` lets nobody in but this machine.
"""
