"""One HTML file that shows what was measured: what all reports are made of.

document   the page around its sections, and the policy that forbids it every request
markup     elements, tables and numbers, escaped
plots      figures of plotly as plain data
words      durations, sizes and moments as people say them
output     strict JSON, and files that are whole or not there
"""
