//! Why a server did not start.

use std::io;
use std::net::SocketAddr;

use bftkv_protocol::SealError;

/// Why a server did not start. Each says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be read or resolved. The caller's fault.
    #[error("cannot listen on {address:?}: {reason}; give host:port, such as 127.0.0.1:5701")]
    BadAddress {
        /// What was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Another program listens there, or another instance of this one.
    #[error(
        "cannot listen on {0}: the port is in use; stop the other program (`ss -ltnp` names it) or choose another port"
    )]
    PortInUse(SocketAddr),
    /// The address is not one of this machine.
    #[error(
        "cannot listen on {0}: this machine has no such address; use one that `ip address` lists, or 0.0.0.0 for all"
    )]
    NotLocal(SocketAddr),
    /// The system does not permit it.
    #[error(
        "cannot listen on {0}: not permitted; ports below 1024 need a privilege, so choose a higher one"
    )]
    NotPermitted(SocketAddr),
    /// Anything else that the system says.
    #[error("cannot listen on {address}: {error}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The own key or the random numbers do not work.
    #[error("cannot serve: {0}")]
    Seal(#[from] SealError),
}

impl ServeError {
    pub(super) fn bind(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            io::ErrorKind::PermissionDenied => Self::NotPermitted(address),
            _ => Self::Io { address, error },
        }
    }
}
