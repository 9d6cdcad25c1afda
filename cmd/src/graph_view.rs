//! The trust graph and its quorums, for eyes and programs.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use bftkv::protocol::Group;
use bftkv::wot::{Keyring, TrustGraph};
use bftkv::{Configuration, NodeId};
use serde::Serialize;

use crate::output::{count, escape};
use crate::public_home::PublicHome;

/// The most lacking certifications that are listed for people; JSON has all of them.
const MOST_LISTED: usize = 20;

/// What a home sees.
#[derive(Debug, Serialize)]
pub(crate) struct GraphView {
    realm: String,
    /// The digest; absent if the certificates make no quorum.
    configuration: Option<String>,
    /// Why there is no configuration.
    problem: Option<String>,
    own: Vertex,
    /// What the own certificate is in the configuration.
    role: &'static str,
    cliques: Vec<GroupView>,
    store: Option<GroupView>,
    /// Nodes that are known and in no group.
    outside: Vec<Outside>,
    /// Who was cut out; members among them stay in n.
    cut: Vec<Vertex>,
    users: Vec<UserView>,
    certificates: usize,
    certifications: usize,
}

/// A group with its numbers.
#[derive(Debug, Serialize)]
struct GroupView {
    n: usize,
    /// Faults tolerated.
    b: usize,
    /// A quorum.
    q: usize,
    members: Vec<Vertex>,
}

/// A certificate.
#[derive(Debug, Clone, Serialize)]
struct Vertex {
    fingerprint: String,
    name: String,
    address: Option<String>,
}

/// A node in no group, and what it lacks to enter the first clique.
#[derive(Debug, Serialize)]
struct Outside {
    #[serde(flatten)]
    node: Vertex,
    missing: Vec<Missing>,
}

/// A certification that does not exist.
#[derive(Debug, Serialize)]
struct Missing {
    from: Vertex,
    to: Vertex,
}

/// A user, and whether the nodes accept what it writes.
#[derive(Debug, Serialize)]
struct UserView {
    #[serde(flatten)]
    user: Vertex,
    /// How many members of each clique have certified it.
    certified_by: Vec<usize>,
    may_write: bool,
    /// How many proofs of its e-mail address it holds.
    email_proofs: usize,
}

impl GraphView {
    /// What this home sees.
    pub(crate) fn of(home: &PublicHome) -> Self {
        match home.certificates().configuration(home.id(), &home.config().realm) {
            Ok(configuration) => Self::under(home, &configuration),
            Err(error) => Self::new(home, None, Some(error.to_string())),
        }
    }

    /// What this home sees, under the configuration that its client has.
    pub(crate) fn under(home: &PublicHome, configuration: &Configuration) -> Self {
        Self::new(home, Some(configuration), None)
    }

    fn new(
        home: &PublicHome,
        configuration: Option<&Configuration>,
        problem: Option<String>,
    ) -> Self {
        let graph = home.certificates().keyring().graph();
        let graph = &*graph;
        let cliques = configuration.map_or(&[][..], Configuration::cliques);
        Self {
            realm: home.config().realm.name.clone(),
            configuration: configuration.map(|c| c.digest().to_string()),
            problem,
            own: vertex(graph, home.id()),
            role: role(configuration, home),
            cliques: cliques.iter().map(|clique| group(graph, clique)).collect(),
            store: configuration.map(|c| group(graph, c.store())),
            outside: outside(graph, configuration),
            cut: home.certificates().revoked().all().keys().map(|id| vertex(graph, id)).collect(),
            users: users(graph, cliques, home.certificates().keyring()),
            certificates: graph.len(),
            certifications: graph.vertices().map(|(id, _)| graph.certified_by(id).count()).sum(),
        }
    }

    /// Whether there is a quorum.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

fn role(configuration: Option<&Configuration>, home: &PublicHome) -> &'static str {
    match configuration {
        Some(c) if c.clique_of(home.id()).is_some() => "authority: it signs",
        Some(c) if c.has_member(home.id()) => "store: it stores",
        _ if home.is_node() => "a node in no group",
        _ => "a user",
    }
}

fn vertex(graph: &TrustGraph, id: &NodeId) -> Vertex {
    let known = graph.vertex(id);
    Vertex {
        fingerprint: id.to_string(),
        name: known.map(|vertex| vertex.name.clone()).unwrap_or_default(),
        address: known.and_then(|vertex| vertex.address.as_ref()).map(ToString::to_string),
    }
}

fn group(graph: &TrustGraph, group: &Group) -> GroupView {
    let numbers = group.thresholds();
    GroupView {
        n: numbers.n(),
        b: numbers.b(),
        q: numbers.q(),
        members: group.members().map(|id| vertex(graph, id)).collect(),
    }
}

/// Nodes in no group, and which certifications lack between them and the first clique: or, if
/// there is no clique, between them and all other nodes.
fn outside(graph: &TrustGraph, configuration: Option<&Configuration>) -> Vec<Outside> {
    let members = configuration.map(Configuration::everyone).unwrap_or_default();
    let nodes: BTreeSet<NodeId> = graph.nodes().cloned().collect();
    let first = configuration.and_then(|c| c.cliques().first());
    let goal: BTreeSet<NodeId> =
        first.map_or_else(|| nodes.clone(), |clique| clique.members().cloned().collect());
    let lone = nodes.difference(&members);
    lone.map(|id| Outside { node: vertex(graph, id), missing: missing(graph, id, &goal) }).collect()
}

fn missing(graph: &TrustGraph, node: &NodeId, goal: &BTreeSet<NodeId>) -> Vec<Missing> {
    let both_ways =
        goal.iter().filter(|other| *other != node).flat_map(|other| [(other, node), (node, other)]);
    both_ways
        .filter(|(from, to)| !graph.certifies(from, to))
        .map(|(from, to)| Missing { from: vertex(graph, from), to: vertex(graph, to) })
        .collect()
}

fn users(graph: &TrustGraph, cliques: &[Group], keyring: &Keyring) -> Vec<UserView> {
    let (cut, now) = (keyring.cut(), keyring.now());
    let proofs = |id: &NodeId| keyring.certificate(id).map_or(0, |one| one.email_proofs(now).len());
    let is_user = graph.vertices().filter(|(id, vertex)| !vertex.is_node && !cut.contains(*id));
    let is_user = is_user.map(|(id, _)| id);
    is_user
        .map(|id| {
            let certifiers: Vec<&NodeId> = graph.certifiers_of(id).collect();
            let in_clique = |clique: &Group| clique.count(certifiers.iter().copied());
            let enough = |clique: &Group| in_clique(clique) >= clique.thresholds().one_honest();
            UserView {
                user: vertex(graph, id),
                certified_by: cliques.iter().map(in_clique).collect(),
                may_write: !cliques.is_empty() && cliques.iter().all(enough),
                email_proofs: proofs(id),
            }
        })
        .collect()
}

impl fmt::Display for Vertex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or("(no address)");
        write!(f, "{}  {} {}", self.fingerprint, escape(&self.name), escape(address))
    }
}

impl Vertex {
    fn short(&self) -> &str {
        if self.name.is_empty() { &self.fingerprint } else { &self.name }
    }
}

impl GroupView {
    fn write(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        let tolerates = match self.b {
            0 => "tolerates no fault".to_owned(),
            b => format!("tolerates {}", count(b, "faulty node")),
        };
        writeln!(f, "{title}: n = {}, b = {}, q = {}: {tolerates}", self.n, self.b, self.q)?;
        self.members.iter().try_for_each(|member| writeln!(f, "    {member}"))
    }

    fn has_members_of(&self, other: &Self) -> bool {
        let prints = |group: &Self| -> BTreeSet<String> {
            group.members.iter().map(|member| member.fingerprint.clone()).collect()
        };
        prints(self) == prints(other)
    }
}

impl fmt::Display for GraphView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "realm {}, {}, {}",
            self.realm,
            count(self.certificates, "certificate"),
            count(self.certifications, "certification")
        )?;
        match (&self.configuration, &self.problem) {
            (Some(digest), _) => writeln!(f, "configuration {digest}")?,
            (None, Some(problem)) => writeln!(f, "no quorum: {}", escape(problem))?,
            (None, None) => {}
        }
        writeln!(f, "this home: {} ({})", self.own, self.role)?;
        for clique in &self.cliques {
            clique.write(f, "\nquorum clique (signs)")?;
        }
        match (&self.store, self.cliques.as_slice()) {
            (Some(store), [only]) if store.has_members_of(only) => {
                writeln!(f, "\nstore group: the clique itself")?;
            }
            (Some(store), _) => store.write(f, "\nstore group")?,
            (None, _) => {}
        }
        self.write_cut(f)?;
        self.write_users(f)?;
        self.write_outside(f)
    }
}

impl GraphView {
    fn write_cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.cut.is_empty() {
            writeln!(
                f,
                "\ncut out for ever (why: `bftkv revoked list`); members among them count as faulty"
            )?;
        }
        self.cut.iter().try_for_each(|vertex| writeln!(f, "    {vertex}"))
    }

    fn write_users(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.users.is_empty() {
            writeln!(f, "\nusers")?;
        }
        self.users.iter().try_for_each(|view| {
            let verdict = if view.may_write { "may write" } else { "may not write" };
            let counts: Vec<String> = view.certified_by.iter().map(ToString::to_string).collect();
            let by = if counts.is_empty() { "no clique".to_owned() } else { counts.join(", ") };
            let proofs = match view.email_proofs {
                0 => String::new(),
                n => format!(", {}", count(n, "e-mail proof")),
            };
            writeln!(f, "    {}: {verdict} (certified by {by} of the clique{proofs})", view.user)
        })
    }

    fn write_outside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.outside.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nnodes in no group, and the certifications that lack")?;
        for outside in &self.outside {
            writeln!(f, "    {}", outside.node)?;
            for missing in outside.missing.iter().take(MOST_LISTED) {
                let (from, to) = (escape(missing.from.short()), escape(missing.to.short()));
                writeln!(f, "        {from} has not certified {to}")?;
            }
            let more = outside.missing.len().saturating_sub(MOST_LISTED);
            if more > 0 {
                writeln!(f, "        and {more} more")?;
            }
        }
        Ok(())
    }
}

/// The graph for Graphviz.
pub(crate) fn dot(home: &PublicHome) -> String {
    let graph = home.certificates().keyring().graph();
    let configuration = home.configuration().ok();
    let mut dot = "digraph bftkv {\n    rankdir=LR;\n    node [shape=box];\n".to_owned();
    for (id, known) in graph.vertices() {
        let colour = match &configuration {
            _ if home.certificates().keyring().is_cut(id) => "salmon",
            Some(c) if c.clique_of(id).is_some() => "palegreen",
            Some(c) if c.store().contains(id) => "lightblue",
            _ => "white",
        };
        let shape = if known.is_node { "box" } else { "ellipse" };
        let label = format!("{}\\n{}", quoted(&known.name), quoted(&short(id)));
        // Writing to a string does not fail.
        let _ = writeln!(
            dot,
            "    \"{id}\" [label=\"{label}\", shape={shape}, style=filled, fillcolor={colour}];"
        );
    }
    for (from, _) in graph.vertices() {
        for to in graph.certified_by(from) {
            // A mutual certification is one line with two heads, drawn once.
            let is_mutual = graph.certifies(to, from);
            if is_mutual && to < from {
                continue;
            }
            let style = if is_mutual { " [dir=both]" } else { "" };
            let _ = writeln!(dot, "    \"{from}\" -> \"{to}\"{style};");
        }
    }
    dot.push_str("}\n");
    dot
}

/// The 64-bit key ID, enough for a picture.
fn short(id: &NodeId) -> String {
    let text = id.to_string();
    text.chars().rev().take(16).collect::<Vec<_>>().into_iter().rev().collect()
}

fn quoted(text: &str) -> String {
    escape(text).replace('\\', "\\\\").replace('"', "\\\"")
}
