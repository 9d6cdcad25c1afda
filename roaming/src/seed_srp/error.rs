//! What can be wrong with what the other side sent.

/// Why a message of the text's scheme was refused, or a login came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrpError {
    /// Not a number from 2 to p-1 of the subgroup of order q. The sender's fault.
    #[error("not an element of the group, or the identity")]
    Element,
    /// B is 0, or not below p. The server's fault.
    #[error("the server's number is out of range")]
    Number,
    /// A threshold or an index is out of range, or an index comes twice. The caller's fault.
    #[error("indices are out of range or come twice, or the threshold does not fit")]
    Indices,
    /// A random number or a hash was 0: never, but by a broken source of randomness.
    #[error("a number that must not be 0 is 0")]
    Zero,
    /// Too few servers have answered so far.
    #[error("{have} of the {need} answers needed")]
    TooFew {
        /// Answers so far.
        have: usize,
        /// Answers needed.
        need: usize,
    },
    /// No signature opens. The password is wrong, or one of the answers that were combined: the
    /// scheme cannot tell which.
    #[error("the password is wrong, or a server has lied; the scheme cannot tell")]
    WrongPassword,
    /// Too many tries without a proof: the server does not answer any more.
    #[error("no tries are left")]
    NoTries,
    /// What is to be handed out or encrypted is too long. The caller's fault.
    #[error("the plain text is too long")]
    TooLong,
}
