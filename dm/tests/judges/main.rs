//! What other people's programs say of zones that we sign: `dnssec-verify` (BIND),
//! `ldns-verify-zone` (NLnet Labs; with ZONEMD) and `kzonecheck` (CZ.NIC; with ZONEMD), and the
//! other way round. NSD, Knot and BIND as secondaries of our primary, and unbound, which believes
//! them. With CI=true it is an error if one of them is missing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod daemons;
mod programs;
mod rolls;
mod root_zone;
mod secondaries;
mod signers;
mod small_zones;
