//! A network within one process, for tests and for programs that embed whole clusters.

mod faults;
mod network;
mod transport;

pub use faults::Faults;
pub use network::MemoryNetwork;
pub use transport::MemoryTransport;
