//! HTTP/1.1 by hyper.

mod admission;
mod carrier;
mod client;
mod endpoint;
mod guard;
mod pool;
mod serve_error;
mod server;
mod service;
mod socket;

pub(crate) use carrier::HttpCarrier;
pub use carrier::Traffic;
pub use client::HttpTransport;
pub use serve_error::ServeError;
pub use server::{HttpServer, Stopped};

/// Where messages are posted.
pub(crate) const PATH: &str = "/bftkv/1/message";

/// What a body is: the binary OpenPGP message.
pub(crate) const CONTENT_TYPE: &str = "application/octet-stream";
