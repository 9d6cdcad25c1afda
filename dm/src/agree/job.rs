//! What takes long to compute.

use std::fmt;
use std::sync::Arc;

use bftkv_threshold::{Error, KeyShare, Nonces, Session};

use super::presign::{PresignJob, Presigned};
use super::topic::Topic;

/// What a member needs to compute. Whoever drives the member runs it beside it, so that the member
/// votes and answers meanwhile. It has secrets in it.
pub struct Job(pub(super) Task);

pub(super) enum Task {
    Presign(PresignJob),
    Sign(SignJob),
}

/// A partial signature that is to be made for a certified session. The nonces are used up by it.
pub(super) struct SignJob {
    pub(super) topic: Topic,
    pub(super) share: Arc<dyn KeyShare>,
    pub(super) nonces: Nonces,
    pub(super) session: Session,
}

/// What came of a [`Job`]. It has secrets in it.
pub struct Computed(pub(super) Outcome);

pub(super) enum Outcome {
    Presigned(Box<Presigned>),
    Signed(Topic, Result<Vec<u8>, Error>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").finish_non_exhaustive()
    }
}

impl Job {
    /// Computes. The result is for [`super::Member::handle_computed`].
    #[must_use]
    pub fn run(self) -> Computed {
        Computed(match self.0 {
            Task::Presign(job) => Outcome::Presigned(Box::new(job.run())),
            Task::Sign(job) => Outcome::Signed(job.topic, job.share.sign(job.nonces, &job.session)),
        })
    }
}
