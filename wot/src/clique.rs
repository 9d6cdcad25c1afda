//! Quorum cliques: maximal, disjoint groups of nodes that all certify each other.
//!
//! Paper: "Algorithm" (`GetQC`, `FindMaximalClique`) and "Sybil attack".
//!
//! Differs: the text leaves open which clique a node belongs to when several maximal ones contain
//! it. Here the candidates are ranked, by (members that the start trusts directly, size, smallest
//! fingerprints), and taken greedily; a clique that shares a member with one already taken is
//! dropped. So everyone who sees the same graph from the same start finds the same cliques, and
//! cliques of made-up nodes rank below those that the start itself certified.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bftkv_protocol::{Configuration, Group, NodeId};

use crate::graph::{Index, TrustGraph};

/// A maximal group of nodes in mutual certification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumClique {
    /// The members.
    pub group: Group,
    /// How many members are the start or directly certified by it.
    pub trusted_directly: usize,
}

/// How cliques are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CliqueSearch {
    /// The paper's L: cliques with a member at a distance less than this are candidates. With 2,
    /// those of the start itself and of whom it certifies directly.
    pub distance: usize,
    /// Smaller maximal cliques are no candidates.
    pub min_size: usize,
    /// The greatest number of cliques that are returned.
    pub max_cliques: usize,
    /// How many elementary steps (vertices looked at) the search may take. Finding all maximal
    /// cliques is exponential in bad graphs, and whoever is certified once can grow a bad graph
    /// behind himself.
    pub budget: u64,
}

impl CliqueSearch {
    /// The default distance. Paper: the example of the Algorithm section.
    pub const DISTANCE: usize = 2;
    /// The default budget: below a second, and more than twice what a graph of 100,000 vertices
    /// needs that a traitor made as bad as he can without a tangle.
    pub const BUDGET: u64 = 10_000_000;
}

impl Default for CliqueSearch {
    fn default() -> Self {
        Self {
            distance: Self::DISTANCE,
            min_size: Configuration::MIN_CLIQUE,
            max_cliques: Configuration::MAX_CLIQUES,
            budget: Self::BUDGET,
        }
    }
}

/// The cliques could not be found. Nobody on the own side is at fault: the graph is bad.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CliqueError {
    /// The start is not in the graph.
    #[error("the certificate {0} is not in the trust graph: import it first")]
    UnknownStart(NodeId),
    /// The search was given up. Do not retry: name the members by a list.
    #[error(
        "the trust graph is too tangled to find its cliques in {budget} steps: pin the authority nodes by a list of fingerprints"
    )]
    Budget {
        /// The budget that was spent.
        budget: u64,
    },
    /// A clique of more than [`Group::MAX_MEMBERS`] nodes.
    #[error(
        "more than {} nodes certify each other: pin the authority nodes by a list of fingerprints",
        Group::MAX_MEMBERS
    )]
    TooLarge,
}

/// What a search found, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCliques {
    /// The cliques, best first; no two share a member.
    pub cliques: Vec<QuorumClique>,
    /// Elementary steps taken: a measure that does not depend on the machine.
    pub steps: u64,
}

/// The quorum cliques that `start` sees.
///
/// Paper: `GetQC`, g(s, L).
///
/// # Errors
/// [`CliqueError`].
pub fn quorum_cliques(
    graph: &TrustGraph,
    start: &NodeId,
    search: &CliqueSearch,
) -> Result<FoundCliques, CliqueError> {
    let start = graph.index(start).ok_or_else(|| CliqueError::UnknownStart(start.clone()))?;
    let mut finder = Finder::new(graph, start, search);
    let seeds = finder.within_distance(start, search.distance)?;
    let mut taken: Vec<Candidate> = Vec::new();
    while taken.len() < search.max_cliques {
        match finder.best(&seeds, &taken)? {
            Some(best) => taken.push(best),
            None => break,
        }
    }
    let cliques = taken.iter().map(|candidate| finder.clique(candidate)).collect();
    Ok(FoundCliques { cliques, steps: finder.steps })
}

/// The best maximal clique that contains the node `member`, ranked as if `member` were the start.
///
/// Paper: `FindMaximalClique`.
///
/// # Errors
/// [`CliqueError`].
pub fn maximal_clique(
    graph: &TrustGraph,
    member: &NodeId,
    search: &CliqueSearch,
) -> Result<Option<QuorumClique>, CliqueError> {
    let search = CliqueSearch { distance: 1, max_cliques: 1, ..*search };
    Ok(quorum_cliques(graph, member, &search)?.cliques.pop())
}

/// A maximal clique with its rank.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    near: usize,
    members: Vec<Index>,
}

/// Sets of vertices are ascending lists.
type Set = Vec<Index>;

/// Branch and bound over maximal cliques (Bron and Kerbosch with a pivot). A branch that cannot
/// reach the rank of the best clique so far is not entered.
struct Finder<'a> {
    graph: &'a TrustGraph,
    /// The start and those whom it certifies directly.
    near: BTreeSet<Index>,
    neighbours: BTreeMap<Index, Rc<Set>>,
    min_size: usize,
    budget: u64,
    steps: u64,
}

impl<'a> Finder<'a> {
    fn new(graph: &'a TrustGraph, start: Index, search: &CliqueSearch) -> Self {
        let near = graph.out(start).chain([start]).collect();
        let min_size = search.min_size.max(1);
        let neighbours = BTreeMap::new();
        Self { graph, near, neighbours, min_size, budget: search.budget, steps: 0 }
    }

    fn spend(&mut self, steps: usize) -> Result<(), CliqueError> {
        self.steps = self.steps.saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
        if self.steps > self.budget {
            return Err(CliqueError::Budget { budget: self.budget });
        }
        Ok(())
    }

    /// Vertices at a distance below `limit`. Paper: step 2 of g(s, L), "if d >= L break".
    fn within_distance(&mut self, start: Index, limit: usize) -> Result<Set, CliqueError> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((vertex, distance)) = queue.pop_front() {
            if distance >= limit || !seen.insert(vertex) {
                continue;
            }
            let next: Set = self.graph.out(vertex).filter(|v| !seen.contains(v)).collect();
            self.spend(next.len().saturating_add(1))?;
            let one_further = distance.saturating_add(1);
            queue.extend(next.into_iter().map(|vertex| (vertex, one_further)));
        }
        Ok(seen.into_iter().filter(|vertex| self.graph.is_node(*vertex)).collect())
    }

    fn neighbours(&mut self, vertex: Index) -> Result<Rc<Set>, CliqueError> {
        if let Some(known) = self.neighbours.get(&vertex) {
            return Ok(Rc::clone(known));
        }
        self.spend(self.graph.out(vertex).count())?;
        let mutual = Rc::new(self.graph.mutual_nodes(vertex));
        self.neighbours.insert(vertex, Rc::clone(&mutual));
        Ok(mutual)
    }

    /// The best maximal clique that contains a seed and shares no member with `taken`.
    fn best(&mut self, seeds: &Set, taken: &[Candidate]) -> Result<Option<Candidate>, CliqueError> {
        let taken: BTreeSet<Index> = taken.iter().flat_map(|c| &c.members).copied().collect();
        let mut best = None;
        let mut done = BTreeSet::new();
        for seed in self.promising_first(seeds, &taken)? {
            let neighbours = self.neighbours(seed)?;
            self.spend(neighbours.len())?;
            // A taken member may still show that a clique is not maximal: it moves to the
            // excluded side instead of vanishing.
            let blocked = |v: &&Index| taken.contains(*v) || done.contains(*v);
            let excluded: Set = neighbours.iter().filter(blocked).copied().collect();
            let open: Set = neighbours.iter().filter(|v| !blocked(v)).copied().collect();
            self.expand(&mut vec![seed], &open, &excluded, &mut best)?;
            done.insert(seed);
        }
        Ok(best)
    }

    /// Seeds with many directly trusted neighbours first: a good clique found early prunes the
    /// rest. The order does not change the result.
    fn promising_first(
        &mut self,
        seeds: &Set,
        taken: &BTreeSet<Index>,
    ) -> Result<Vec<Index>, CliqueError> {
        let mut order = Vec::new();
        for seed in seeds.iter().filter(|seed| !taken.contains(*seed)) {
            let neighbours = self.neighbours(*seed)?;
            self.spend(neighbours.len())?;
            if neighbours.len().saturating_add(1) >= self.min_size {
                order.push((self.count_near(&neighbours), *seed));
            }
        }
        order.sort_by_key(|(near, seed)| (std::cmp::Reverse(*near), *seed));
        Ok(order.into_iter().map(|(_, seed)| seed).collect())
    }

    fn expand(
        &mut self,
        clique: &mut Vec<Index>,
        open: &Set,
        excluded: &Set,
        best: &mut Option<Candidate>,
    ) -> Result<(), CliqueError> {
        self.spend(open.len().saturating_add(excluded.len()).saturating_add(1))?;
        if !self.can_win(clique, open, best.as_ref()) {
            return Ok(());
        }
        if open.is_empty() {
            if excluded.is_empty() {
                self.offer(clique, best)?;
            }
            return Ok(());
        }
        // The search is as deep as the clique is large.
        if clique.len() >= Group::MAX_MEMBERS {
            return Err(CliqueError::TooLarge);
        }
        self.branch(clique, open, excluded, best)
    }

    fn branch(
        &mut self,
        clique: &mut Vec<Index>,
        open: &Set,
        excluded: &Set,
        best: &mut Option<Candidate>,
    ) -> Result<(), CliqueError> {
        let skipped = self.pivot(open, excluded)?;
        let branches: Set = open.iter().filter(|v| !contains(&skipped, **v)).copied().collect();
        for vertex in &branches {
            let neighbours = self.neighbours(*vertex)?;
            let mut excluded = self.intersect(excluded, &neighbours)?;
            // Earlier branches have seen every clique with their own vertex.
            let (earlier, open) = self
                .intersect(open, &neighbours)?
                .into_iter()
                .partition(|other| other < vertex && contains(&branches, *other));
            excluded.extend::<Set>(earlier);
            excluded.sort_unstable();
            clique.push(*vertex);
            let result = self.expand(clique, &open, &excluded, best);
            clique.pop();
            result?;
        }
        Ok(())
    }

    /// Costs what the smaller set costs, so that a vertex with many neighbours is cheap.
    fn intersect(&mut self, a: &[Index], b: &[Index]) -> Result<Set, CliqueError> {
        let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        self.spend(few.len())?;
        Ok(few.iter().filter(|vertex| contains(many, **vertex)).copied().collect())
    }

    /// The neighbours of the vertex that leaves the fewest branches: each maximal clique holds
    /// the pivot or somebody who is not its neighbour.
    fn pivot(&mut self, open: &Set, excluded: &Set) -> Result<Rc<Set>, CliqueError> {
        let mut best: Option<(usize, Rc<Set>)> = None;
        for vertex in open.iter().chain(excluded) {
            let neighbours = self.neighbours(*vertex)?;
            self.spend(open.len().min(neighbours.len()))?;
            let covered = count_common(open, &neighbours);
            if best.as_ref().is_none_or(|(most, _)| covered > *most) {
                best = Some((covered, neighbours));
            }
        }
        Ok(best.map(|(_, neighbours)| neighbours).unwrap_or_default())
    }

    /// Whether a clique of these members and some of `open` could rank at least as high as the
    /// best one. Equal rank is decided by fingerprints, so it must be looked at.
    fn can_win(&self, clique: &[Index], open: &Set, best: Option<&Candidate>) -> bool {
        let size = clique.len().saturating_add(open.len());
        let near = || self.count_near(clique).saturating_add(self.count_near(open));
        let beats = |best: &Candidate| (near(), size).cmp(&(best.near, best.members.len())).is_ge();
        size >= self.min_size && best.is_none_or(beats)
    }

    fn offer(&self, clique: &[Index], best: &mut Option<Candidate>) -> Result<(), CliqueError> {
        if clique.len() > Group::MAX_MEMBERS {
            return Err(CliqueError::TooLarge);
        }
        let near = self.count_near(clique);
        let candidate = Candidate { near, members: clique.to_vec() };
        if best.as_ref().is_none_or(|best| self.rank(&candidate, best).is_gt()) {
            *best = Some(candidate);
        }
        Ok(())
    }

    fn rank(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let key = |c: &Candidate| (c.near, c.members.len());
        // Smaller fingerprints win, so the last comparison is turned round.
        key(a).cmp(&key(b)).then_with(|| self.group(b).cmp(&self.group(a)))
    }

    fn count_near(&self, vertices: &[Index]) -> usize {
        vertices.iter().filter(|vertex| self.near.contains(*vertex)).count()
    }

    fn group(&self, candidate: &Candidate) -> Group {
        Group::new(candidate.members.iter().filter_map(|v| self.graph.id(*v)).cloned())
    }

    fn clique(&self, candidate: &Candidate) -> QuorumClique {
        QuorumClique { group: self.group(candidate), trusted_directly: candidate.near }
    }
}

fn contains(set: &[Index], vertex: Index) -> bool {
    set.binary_search(&vertex).is_ok()
}

fn count_common(a: &[Index], b: &[Index]) -> usize {
    let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    few.iter().filter(|vertex| contains(many, **vertex)).count()
}

#[cfg(test)]
#[path = "clique_tests.rs"]
mod tests;
