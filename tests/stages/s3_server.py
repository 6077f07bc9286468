"""An S3 server on the loopback (moto), run by .venv-fetch: PORT LOG DELAY_S BUCKET/PREFIX=FOLDER ...

Serves the files of each folder, one request at a time, and writes the path of each object that was sent whole.
"""

import sys
import threading
import time
from pathlib import Path

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

port, log, delay, *places = sys.argv[1:]
app = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def slow(environ, start_response):
    with turn:
        body = b"".join(app(environ, start_response))
        if environ["REQUEST_METHOD"] == "GET" and "list-type" not in environ.get("QUERY_STRING", ""):
            time.sleep(float(delay))
            with open(log, "a") as file:
                print(environ["PATH_INFO"], file=file)
    return [body]


server = make_server("127.0.0.1", int(port), slow, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", **keys)
for place in places:
    target, folder = place.split("=", 1)
    bucket, prefix = target.split("/", 1)
    s3.create_bucket(Bucket=bucket)
    for path in sorted(Path(folder).iterdir()):
        s3.upload_file(str(path), bucket, f"{prefix}/{path.name}")
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy='{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}]}',
    )
print(server.port, flush=True)
threading.Event().wait()
