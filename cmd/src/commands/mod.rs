//! The commands, one file or folder each.

pub(crate) mod bench;
pub(crate) mod cert;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod dm;
pub(crate) mod get;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod join;
pub(crate) mod member;
pub(crate) mod password;
pub(crate) mod put;
mod put_batch;
pub(crate) mod register;
pub(crate) mod registration;
pub(crate) mod repair;
pub(crate) mod revoked;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod verify;
