# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Many short HTTP connections: storm.py serve ADDR PORT | storm.py ask ADDR PORT COUNT.

The server answers one request a connection and closes it; the client counts what did not come back whole. A process each, so that
they share no interpreter lock.
"""

import socket
import sys
import threading

ANSWER = b'HTTP/1.0 200 OK\r\nContent-Length: 512\r\n\r\n' + bytes(range(256)) * 2
REQUEST = b'GET / HTTP/1.0\r\nHost: storm\r\n\r\n'
THREADS = 16


def serve(addr, port):
    s = socket.create_server((addr, port), backlog=1024)
    print('ready', flush=True)
    while True:
        c, _ = s.accept()
        try:
            c.settimeout(20)
            got = b''
            while not got.endswith(b'\r\n\r\n'):
                b = c.recv(4096)
                if not b:
                    break
                got += b
            c.sendall(ANSWER)
        except OSError:
            pass
        c.close()


def ask_one(addr, port):
    with socket.create_connection((addr, port), timeout=20) as c:
        c.sendall(REQUEST)
        got = b''
        while True:
            b = c.recv(4096)
            if not b:
                return got == ANSWER
            got += b


def ask(addr, port, count):
    failures, lock = [], threading.Lock()

    def some(n):
        for _ in range(n):
            try:
                r = None if ask_one(addr, port) else 'a wrong answer'
            except OSError as e:
                r = str(e)
            if r:
                with lock:
                    failures.append(r)

    share = [count // THREADS + (i < count % THREADS) for i in range(THREADS)]
    threads = [threading.Thread(target=some, args=(n,)) for n in share]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f'{count - len(failures)} of {count}', *sorted(set(failures)), flush=True)
    return 1 if failures else 0


if sys.argv[1] == 'serve':
    serve(sys.argv[2], int(sys.argv[3]))
else:
    sys.exit(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
