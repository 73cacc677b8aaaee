"""A time stamp authority made of `openssl ts`, over HTTP on a loopback port that it prints. Argument: its folder."""

import http.server
import pathlib
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])


class Door(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        query = self.rfile.read(int(self.headers["content-length"]))
        (folder / "query.tsq").write_bytes(query)
        subprocess.run(
            "openssl ts -reply -config tsa.cnf -section tsa -queryfile query.tsq -signer tsa.crt -inkey tsa.key "
            "-chain tsa-ca.crt -out answer.tsr".split(),
            cwd=folder, check=True, timeout=30,
        )
        answer = (folder / "answer.tsr").read_bytes()
        self.send_response(200)
        self.send_header("content-type", "application/timestamp-reply")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Door)
print(server.server_address[1], flush=True)
server.serve_forever()
