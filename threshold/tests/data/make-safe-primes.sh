#!/usr/bin/env bash
# Makes the safe primes that the tests deal their RSA keys from. They are public, so no key made
# from them is good for anything but a test. A pair of 1,024 bits takes a minute or more.
#
#   threshold/tests/data/make-safe-primes.sh > threshold/tests/data/safe-primes.txt
#
# One prime per line, hexadecimal, the smaller pair (for a modulus of 1,536 bits) first.
set -euo pipefail
for bits in 768 768 1024 1024; do
    openssl prime -generate -safe -bits "$bits" -hex
done
