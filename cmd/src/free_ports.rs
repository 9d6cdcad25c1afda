//! Ports for nodes on this machine.

use std::net::TcpListener;

use crate::failure::Failure;

/// `n` ports of the loopback interface: from `base` upwards, or such as the system gives.
///
/// The system's ports were free a moment ago; nothing holds them until the nodes listen.
///
/// # Errors
/// There are not so many.
pub(crate) fn free_ports(n: usize, base: Option<u16>) -> Result<Vec<u16>, Failure> {
    match base {
        Some(base) => {
            let ports: Vec<u16> = (base..=u16::MAX).take(n).collect();
            if ports.len() < n {
                return Err(Failure::usage(format!("there are no {n} ports from {base} upwards")));
            }
            Ok(ports)
        }
        None => chosen_by_system(n),
    }
}

/// All are held at once, so that no two are the same.
fn chosen_by_system(n: usize) -> Result<Vec<u16>, Failure> {
    let failed = |error| Failure::failed(format!("no free port: {error}"));
    let listeners: Result<Vec<TcpListener>, _> =
        (0..n).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    listeners.and_then(|all| all.iter().map(port).collect()).map_err(failed)
}
