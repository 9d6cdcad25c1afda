#!/usr/bin/env python3
"""Makes seed-srp.txt: the text's scheme in plain integers, written apart from the Rust code.

    python3 roaming/testdata/make-seed-srp.py > roaming/testdata/seed-srp.txt
"""
import hashlib
import re
import pathlib

source = pathlib.Path(__file__).parent.parent / "src/seed_srp/group.rs"
digits = re.search(r'const PRIME: &str = "\\\s*(.*?)";', source.read_text(), re.S).group(1)
P = int(re.sub(r"[^0-9A-F]", "", digits), 16)
Q = (P - 1) // 2
G = 2


def raw(n):
    return n.to_bytes(256, "big")


def h(label, *parts):
    out = b""
    for counter in range(4):
        d = hashlib.sha512(b"bftkv seed-srp " + bytes([counter]))
        for part in (label, *parts):
            d.update(len(part).to_bytes(8, "big") + part)
        out += d.digest()
    return int.from_bytes(out, "big")


def stream(name):
    """A fixed number modulo q."""
    return h(b"test vector", name.encode()) % Q


def show(name, n):
    print(name, n.hex() if isinstance(n, bytes) else raw(n).hex())


password, salt = b"correct horse", hashlib.sha256(b"salt").digest()
print("# The text's scheme: n = 4, f = 1, so two shares give S. Made by make-seed-srp.py.")
show("password", password)
show("salt", salt)
S, a1, a = stream("S"), stream("a1"), stream("a")
show("S", S), show("a1", a1), show("a", a)

pi = h(b"salted password", salt, password) % P
mask = pow(G, h(b"password", password) % Q, P) % Q
x = pi * pow(G, S, P) % P
v = pow(G, x, P)
k = h(b"k", raw(P), raw(G)) % P
X = pow(G, (a - mask) % Q, P)
show("x", x), show("v", v), show("X", X)
show("key", hashlib.sha256(b"bftkv seed-srp value" + raw(x)).digest())
for i in range(1, 5):
    y = (S + a1 * i + mask) % Q
    b = stream(f"b{i}")
    B = (k * v + pow(G, b, P)) % P
    u = h(b"u", raw(X), raw(B)) % Q
    KS = pow(X * pow(v, u, P) % P, b, P)
    # The client's way to the same key.
    assert KS == pow((B - k * pow(G, x, P)) % P, (a - mask + u * x) % Q, P)
    show(f"y{i}", y), show(f"b{i}", b), show(f"Y{i}", X * pow(G, y, P) % P)
    show(f"B{i}", B), show(f"KS{i}", KS)
