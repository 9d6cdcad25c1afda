//! `bftkv serve`.

use std::net::SocketAddr;

use bftkv::storage::Salvage;
use bftkv::{Home, Node, RunningNode};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::listening::LISTENING;
use crate::output::{self, count};
use crate::stop::Stop;

/// Run a node.
///
/// Prints one line when it listens, and logs to stderr (-v for more). Ctrl-C or SIGTERM stops it
/// when the requests under way are answered; a second one stops it at once. Whatever was
/// acknowledged is on disk in either case. SIGHUP makes it read the home's certificates and
/// revocations again (`cert import`, `cert certify`, `cert revoke`), without a pause.
///
/// Examples:
///
///   bftkv --home /var/lib/bftkv serve
///   bftkv --home /var/lib/bftkv serve --log-json -v 2> node.log
///   bftkv --home /var/lib/bftkv serve --salvage
///   kill -HUP PID
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServeArgs {
    /// Listen here [default: node.listen in the settings, or the URL in the user ID].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Open a store that is damaged: put it aside as store.damaged-1, keep what is sound, and read
    /// the rest from the other nodes. The node gets a fresh signing subkey, as after a lost disk.
    #[arg(long)]
    salvage: bool,

    /// Stop when stdin ends: for programs that start nodes.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(crate) fn run(args: &ServeArgs, context: &Context) -> Result<Exit, Failure> {
    let mut home = context.open_home()?;
    if args.listen.is_some() {
        home.config_mut().node.listen = args.listen;
    }
    context.block_on(async {
        // Signals count from here on, also while the store opens.
        let mut stop = Stop::listen(args.stop_with_stdin)?;
        let node = open(&home, args.salvage)?;
        let running = node.serve().await?;
        announce(context, &node, &running)?;
        serve_until(&mut stop, &node).await?;
        shut_down(running, stop).await
    })
}

fn open(home: &Home, salvage: bool) -> Result<Node, Failure> {
    if !salvage {
        return Ok(Node::open(home)?);
    }
    let (node, salvaged) = Node::open_salvaging(home)?;
    match salvaged {
        Some(Salvage { copied, damaged, set_aside, .. }) => eprintln!(
            "salvaged {} ({} damaged); the damaged store is in {}",
            count(usize::try_from(copied).unwrap_or(usize::MAX), "record"),
            damaged.len(),
            set_aside.display(),
        ),
        None => eprintln!("the store is sound: nothing was to be salvaged"),
    }
    Ok(node)
}

/// Returns when somebody says that it shall stop.
async fn serve_until(stop: &mut Stop, node: &Node) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            _ = hangup.recv() => {
                // What it knows is enough to go on.
                if let Err(error) = node.reload() {
                    tracing::error!(%error, "cannot read the certificates again");
                }
            }
        }
    }
}

fn announce(context: &Context, node: &Node, running: &RunningNode) -> Result<(), Failure> {
    if node.is_waiting() {
        eprintln!(
            "the certificates of this home show no authority clique: the node is a guest. It asks the \
             nodes that it knows what the realm has, and answers neither reads nor writes until it \
             is a member (`bftkv graph`, `bftkv member add`)"
        );
    }
    let (id, address) = (node.id(), running.local_addr());
    let configuration = node.configuration();
    let realm = configuration.realm();
    if context.output().is_json() {
        let object = serde_json::json!({
            "listening": address.to_string(),
            "fingerprint": id.to_string(),
            "realm": realm.as_str(),
        });
        return output::raw(format!("{object}\n").as_bytes());
    }
    output::raw(format!("{LISTENING}{address} as {id} in realm {realm}\n").as_bytes())
}

async fn shut_down(running: RunningNode, mut stop: Stop) -> Result<Exit, Failure> {
    tokio::select! {
        stopped = running.shutdown() => stopped?,
        () = stop.wait_for_signal() => {
            return Err(Failure::failed("stopped at once; requests under way were cut off"));
        }
    }
    Ok(Exit::Done)
}
