"""What a browser shows at the API's root."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Whippet: image classification</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
pre { background: #f4f4f4; padding: 1rem; overflow-x: auto }</style>
<h1>Whippet</h1>
<p>This API labels photos. Send one:</p>
<pre>curl -H 'x-api-key: KEY' --data-binary @photo.jpg -H 'Content-Type: image/jpeg' URL/v1/classify</pre>
<p>Routes, answers and errors: <a href="v1/openapi.json">OpenAPI document</a>.
State: <a href="v1/health">health</a>.</p>
</html>
"""
