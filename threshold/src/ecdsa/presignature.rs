//! What is made ahead of need: shares of a nonce and of two products.

use std::collections::VecDeque;
use std::fmt;

use p256::elliptic_curve::point::AffineCoordinates;
use sha2::{Digest, Sha256};

use super::group::{
    POINT, Pair, Point, Scalar, read_point, reduce, times_base_public, write_point,
};
use crate::codec::{Reader, Writer};
use crate::session::NonceKind;
use crate::{Error, KeyId, Nonces, Session};

/// The public part of a presignature: R = κ·G, and commitments to the polynomials that share λ,
/// κλ and xλ. The commitments stay encoded, because only a dispute needs them as points.
#[derive(Clone)]
pub(super) struct PublicPart {
    nonce: Point,
    encoded: Vec<u8>,
    k: usize,
}

/// What a dispute is judged by: for each of λ, κλ and xλ, k commitments.
pub(super) struct Commitments {
    pub(super) lambda: Vec<Point>,
    pub(super) nonce_lambda: Vec<Point>,
    pub(super) key_lambda: Vec<Point>,
}

impl PublicPart {
    pub(super) fn new(nonce: Point, commitments: &Commitments) -> Self {
        let Commitments { lambda, nonce_lambda, key_lambda } = commitments;
        let mut out = Writer::default();
        write_point(&nonce, &mut out);
        let points = lambda.iter().chain(nonce_lambda).chain(key_lambda);
        points.for_each(|point| write_point(point, &mut out));
        Self { nonce, encoded: out.finish_public(), k: lambda.len() }
    }

    /// R.
    pub(super) fn nonce(&self) -> &Point {
        &self.nonce
    }

    /// R and the commitments, [`POINT`] bytes each.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// # Errors
    ///
    /// [`Error::Malformed`]: nobody who presigned has certified this.
    pub(super) fn commitments(&self) -> Result<Commitments, Error> {
        let mut reader = Reader::new(&self.encoded, "presignatures");
        read_point(&mut reader)?;
        let mut points =
            || (0..self.k).map(|_| read_point(&mut reader)).collect::<Result<Vec<_>, _>>();
        Ok(Commitments { lambda: points()?, nonce_lambda: points()?, key_lambda: points()? })
    }

    /// Reads R of each; whether the rest are points is not looked at before they are needed.
    pub(super) fn read_all(bytes: &[u8], k: usize, count: usize) -> Result<Vec<Self>, Error> {
        let size = k.saturating_mul(3).saturating_add(1).saturating_mul(POINT);
        if bytes.len() != size.saturating_mul(count) {
            return Err(Error::Malformed("presignatures"));
        }
        let read = |encoded: &[u8]| {
            let nonce = read_point(&mut Reader::new(encoded, "presignatures"))?;
            Ok(Self { nonce, encoded: encoded.to_vec(), k })
        };
        bytes.chunks(size).map(read).collect()
    }
}

/// One party's part of a presignature. Wiped when dropped, never written anywhere.
pub(crate) struct Presignature {
    pub(super) public: PublicPart,
    pub(super) lambda: Pair,
    pub(super) nonce_lambda: Pair,
    pub(super) key_lambda: Pair,
}

/// One party's presignatures, in the order in which all parties have them. They live in memory
/// only: a restart forgets them, and must.
///
/// **One presignature, one session.** Two sessions with one presignature and another message give
/// the key away to whoever sees both. Nobody here can see that another party was told another
/// session: the caller lets a quorum certify it ([`Session::hash`]) before anybody signs.
pub struct Presignatures {
    pub(super) key: KeyId,
    pub(super) transcript: [u8; 32],
    pub(super) next: usize,
    pub(super) left: VecDeque<Presignature>,
}

impl fmt::Debug for Presignatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Presignatures");
        out.field("next", &self.next).field("left", &self.left.len()).finish_non_exhaustive()
    }
}

impl Presignatures {
    /// A hash of everything that was broadcast when they were made. All parties must have the
    /// same before one is used.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// The number of the first that is left. Parties that sign together name it.
    #[must_use]
    pub fn next(&self) -> usize {
        self.next
    }

    /// The public parts of those that are left, one after the other: what [`Presignatures::take`]
    /// gives as a session's commitments, in pieces. Everybody who has them can put signatures
    /// together, also without presignatures of its own.
    #[must_use]
    pub fn public(&self) -> Vec<Vec<u8>> {
        self.left.iter().map(|one| one.public.encoded().to_vec()).collect()
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Takes as many as there are messages, beginning with number `first`; those before it are
    /// thrown away, so that nobody ever goes back. The bytes are the session's commitments, the
    /// same for all its signers.
    ///
    /// # Errors
    ///
    /// [`Error::OtherNonces`] if `first` is used already; [`Error::BatchSize`] for none, or more
    /// than are left: then none is taken.
    pub fn take(&mut self, first: usize, messages: usize) -> Result<(Nonces, Vec<u8>), Error> {
        let skip = first.checked_sub(self.next).ok_or(Error::OtherNonces)?;
        let needed = skip.checked_add(messages).ok_or(Error::BatchSize)?;
        if messages == 0 || needed > self.left.len() {
            return Err(Error::BatchSize);
        }
        self.left.drain(..skip);
        let taken: Vec<Presignature> = self.left.drain(..messages).collect();
        self.next = first.saturating_add(messages);
        let public = taken.iter().flat_map(|one| one.public.encoded()).copied().collect();
        Ok((Nonces { key: self.key, kind: NonceKind::Ecdsa(taken) }, public))
    }
}

/// What one message's signature is made of once the session is fixed.
pub(super) struct Binding {
    /// δ: the nonce is moved by it, after the message is known.
    pub(super) shift: Scalar,
    /// r, the x-coordinate of R' = R + δ·G.
    pub(super) r: Scalar,
    /// h, the hash of the message.
    pub(super) hash: Scalar,
}

impl Binding {
    /// δ = H(session, number of the message, R): nobody knows R' before the session is fixed.
    /// Source: Groth and Shoup, "re-randomized presignatures".
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] for a message whose hash is 0, which every signature would fit.
    pub(super) fn new(
        session: &[u8; 32],
        number: usize,
        message: &[u8],
        public: &PublicPart,
    ) -> Result<Self, Error> {
        let mut out = Writer::default();
        out.bytes(b"bftkv threshold ECDSA shift 1");
        out.bytes(session);
        out.length_u32(number);
        out.bytes(public.encoded().get(..POINT).unwrap_or_default());
        let digest = Sha256::digest(message);
        out.bytes(&digest);
        let shift = reduce(Sha256::digest(&*out.finish()).into());
        let hash = reduce(digest.into());
        let moved = (*public.nonce() + times_base_public(&shift)).to_affine();
        let r = reduce(moved.x().into());
        if hash == Scalar::ZERO || r == Scalar::ZERO {
            return Err(Error::Malformed("message"));
        }
        Ok(Self { shift, r, hash })
    }

    /// One for each message of the session.
    pub(super) fn all<'a>(
        session: &Session,
        presignatures: impl Iterator<Item = &'a PublicPart>,
    ) -> Result<Vec<Self>, Error> {
        let hash = session.hash();
        let messages = session.messages().iter().zip(presignatures).enumerate();
        messages
            .map(|(number, (message, public))| Self::new(&hash, number, message, public))
            .collect()
    }
}
