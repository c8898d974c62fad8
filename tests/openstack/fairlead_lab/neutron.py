"""A Neutron without networks: the only service that is not the real one. usage: neutron.py PORT

Servers are made with `networks: none`, but Nova still lists ports and extensions when it shows or deletes one.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSIONS = {'versions': [{
    'id': 'v2.0', 'status': 'CURRENT', 'links': [{'rel': 'self', 'href': '/v2.0'}],
}]}
NOT_FOUND = {'NeutronError': {'type': 'NotFound', 'message': 'there is nothing', 'detail': ''}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self):
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        parts = self.path.split('?')[0].strip('/').split('/')
        if parts[0] != 'v2.0' or len(parts) == 1:
            self.reply(200, VERSIONS)
        elif self.command == 'GET' and len(parts) == 2:
            self.reply(200, {parts[1].replace('-', '_'): []})
        else:
            self.reply(404, NOT_FOUND)

    def reply(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer


ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
