"""An archive under LitServe: `litserve_app.py PORT BATCH`, ARCHIVE in the environment.

It takes JSON, so that photos come as base64. Annotations stay values here: LitServe looks at them.
"""

import base64
import os
import sys
from typing import Any

import litserve


class Api(litserve.LitAPI):  # type: ignore[misc]
    """The hooks, a batch at a time."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        folder = os.environ["ARCHIVE"]
        sys.path.insert(0, f"{folder}/code")
        import inference  # type: ignore[import-not-found]

        self.hooks = inference
        self.model = inference.model_fn(folder)

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One photo."""
        return self.hooks.input_fn(base64.b64decode(request["image"]), "image/jpeg")

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Stays a list: the hooks take one."""
        return inputs

    def predict(self, x: Any) -> Any:
        """Of a batch, or of one where batches are off."""
        return self.hooks.predict_many(x, self.model) if isinstance(x, list) else self.hooks.predict_fn(x, self.model)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One answer a request."""
        return output

    def encode_response(self, output: Any) -> Any:
        """JSON-ready already."""
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=int(sys.argv[2]), batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
