"""The same archive under servers of others, as their documentation would have it: for bench.hosts alone."""
