#!/bin/sh
# Makes `small/all.pgp`: a keyring with the cases that a trust graph must judge, by GnuPG alone.
# Its output is kept in the repository; run it again only to change the cases (then the
# fingerprints change too). No passphrases: test keys.
#
#   a1 a2 a3 a4   nodes, all certified by all: the clique
#   a5            certified by a1..a4, certifies a1..a3 only: one edge is missing
#   a6            as a5, but its certification of a4 expired
#   a7            mutual with a1..a4, but a4 revoked its certification of a7
#   a8            mutual with a1..a4, but its key is revoked
#   a9            mutual with a1..a4, but its certification of a4 uses SHA-1
#   t1            a traitor: in a second maximal clique {a2,a3,a4,t1,x1,x2} with made-up nodes
#   x1 x2         made-up nodes, mutual with t1, a2, a3 and a4, unknown to a1
#   u1            a user, mutual with a1..a4: never a member
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=$(mktemp -d)
trap 'GNUPGHOME=$home gpgconf --kill all; rm -rf "$home"' EXIT
export GNUPGHOME="$home"
chmod 700 "$home"
gpg="gpg --batch --yes --quiet --no-tty --pinentry-mode loopback --passphrase ''"

new() { # name, user ID, algorithm
    eval "$gpg --faked-system-time 20260101T000000! --quick-generate-key '$2' ${3:-ed25519} cert,sign never" 2>>"$home/log"
    fpr=$(gpg --batch --with-colons --list-keys "=$2" | awk -F: '$1=="fpr"{print $10; exit}')
    eval "$gpg --faked-system-time 20260101T000000! --quick-add-key $fpr cv25519 encr never" 2>>"$home/log"
    eval "fpr_$1=$fpr"
}
sign() { # from, to, options
    from=$(eval echo "\$fpr_$1"); to=$(eval echo "\$fpr_$2"); shift 2
    eval "$gpg --faked-system-time 20260102T000000! --no-auto-check-trustdb $* --default-key $from --local-user $from --quick-sign-key $to" >>"$home/log" 2>&1
}
both() { sign "$1" "$2"; sign "$2" "$1"; }

port=1
for node in a1 a2 a3 a4 a5 a6 a7 a8 a9 t1 x1 x2; do
    # Ed25519 keys never sign SHA-1.
    if [ $node = a9 ]; then algorithm=rsa2048; else algorithm=ed25519; fi
    new $node "$node (http://127.0.0.1:$port)" $algorithm
    port=$((port + 1))
done
new u1 "u1 <u1@example.org>"

both a1 a2; both a1 a3; both a1 a4; both a2 a3; both a2 a4; both a3 a4
for node in a5 a6 a7 a8 a9 u1; do
    for member in a1 a2 a3; do both $member $node; done
    sign a4 $node
done
sign a6 a4 --default-cert-expire 1d
for node in a7 a8 u1; do sign $node a4; done
sign a9 a4 --cert-digest-algo SHA1 --allow-weak-key-signatures
for node in a2 a3 a4; do both t1 $node; both x1 $node; both x2 $node; done
both t1 x1; both t1 x2; both x1 x2

# a4 revokes its certification of a7.
eval "$gpg --faked-system-time 20260103T000000! --quick-revoke-sig $fpr_a7 $fpr_a4" >>"$home/log" 2>&1

# a8 revokes itself, with the certificate that GnuPG prepared.
sed 's/^:-----/-----/' "$home/openpgp-revocs.d/$fpr_a8.rev" | gpg --batch --quiet --import 2>>"$home/log"

mkdir -p "$here/small"
gpg --batch --export > "$here/small/all.pgp"
gpg --batch --with-colons --check-sigs > "$here/small/judged-by-gpg.txt" 2>>"$home/log"
ls -l "$here/small"
