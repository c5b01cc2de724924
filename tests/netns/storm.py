# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Many connections, from processes of their own, so that they share no interpreter lock and no limit of open files.

    storm.py serve ADDR PORT        answers one HTTP request a connection and closes it
    storm.py ask ADDR PORT COUNT    makes COUNT short connections; says how many came back whole
    storm.py keep ADDR PORT         accepts connections and keeps them
    storm.py hold ADDR PORT COUNT   makes COUNT connections and keeps them until its input ends
"""

import resource
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


def keep(addr, port):
    s = socket.create_server((addr, port), backlog=4096)
    kept = []
    print('ready', flush=True)
    while True:
        kept.append(s.accept()[0])


def hold(addr, port, count):
    kept, failure = [], ''
    try:
        for _ in range(count):
            kept.append(socket.create_connection((addr, port), timeout=20))
    except OSError as e:
        failure = str(e)
    print(len(kept), failure, flush=True)
    sys.stdin.read()
    return 0


def main(role, addr, port, *count):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    roles = {'serve': serve, 'ask': ask, 'keep': keep, 'hold': hold}
    return roles[role](addr, int(port), *map(int, count))


sys.exit(main(*sys.argv[1:]))
