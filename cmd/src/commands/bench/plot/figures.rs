//! Which pictures there are of a series.

use std::collections::{BTreeMap, BTreeSet};

use bftkv::protocol::Thresholds;

use super::super::report::{ClusterReport, Figures, Mix};
use super::super::series::Series;
use super::picture::{Axis, Chart, Line, Picture};

/// All for which something was measured.
pub(super) fn pictures(series: &Series) -> Vec<Picture> {
    let over_nodes = Measured::of(series, smallest(series, |report| report.value_bytes));
    let mut pictures: Vec<Picture> = over_nodes
        .loads()
        .into_iter()
        .filter_map(|load| cost_over_nodes(&over_nodes, load))
        .collect();
    pictures.extend(cost_over_size(series));
    pictures.extend(throughput(&over_nodes));
    pictures.extend(mixes(&over_nodes));
    pictures
}

fn smallest<T: Ord + Copy>(series: &Series, of: impl Fn(&ClusterReport) -> T) -> Option<T> {
    series.reports.iter().map(of).min()
}

/// Clients and variables at once.
type Load = (u16, u16);

/// Reports with values of one size, by load, by how messages travel, over the number of nodes.
struct Measured<'a> {
    reports: BTreeMap<(Load, bool), BTreeMap<usize, &'a ClusterReport>>,
    bytes: u32,
}

impl<'a> Measured<'a> {
    fn of(series: &'a Series, bytes: Option<u32>) -> Self {
        let bytes = bytes.unwrap_or_default();
        let mut reports: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for report in series.reports.iter().filter(|report| report.value_bytes == bytes) {
            let key = ((report.clients, report.batch), report.sealed);
            reports.entry(key).or_default().insert(report.authority, report);
        }
        Self { reports, bytes }
    }

    fn loads(&self) -> BTreeSet<Load> {
        self.reports.keys().map(|(load, _)| *load).collect()
    }

    /// A line for each way of messages, and for each load if it is one of several.
    fn lines(&self, only: Option<Load>, of: impl Fn(&ClusterReport) -> Option<f64>) -> Vec<Line> {
        let wanted =
            self.reports.iter().filter(|((load, _), _)| only.is_none_or(|one| one == *load));
        let line =
            |((load, sealed), reports): (&(Load, bool), &BTreeMap<usize, &ClusterReport>)| {
                let label = match only {
                    Some(_) => transport(*sealed).to_owned(),
                    None => format!("{}, {}", load_name(*load), transport(*sealed)),
                };
                let point = |(n, report): (&usize, &&ClusterReport)| Some((*n as f64, of(report)?));
                Line { label, points: reports.iter().filter_map(point).collect(), is_guide: false }
            };
        wanted.map(line).collect()
    }
}

fn transport(sealed: bool) -> &'static str {
    if sealed { "sealed" } else { "TLS" }
}

fn load_name((clients, batch): Load) -> String {
    match (clients, batch) {
        (1, 1) => "1 client".to_owned(),
        (_, 1) => format!("{clients} clients"),
        (1, _) => format!("{batch} at once"),
        _ => format!("{clients} clients, {batch} at once each"),
    }
}

const NODES: Axis = Axis { label: "nodes (n)", is_logarithmic: false };

/// What a put costs all processes, and what it costs for each node, beside lines that grow as n and as q.
fn cost_over_nodes(measured: &Measured<'_>, load: Load) -> Option<Picture> {
    let put = measured.lines(Some(load), |report| Some(report.put.cpu_ms));
    let each = measured
        .lines(Some(load), |report| Some(report.put.cpu_ms / report.authority.max(1) as f64));
    let q = |n: f64| quorum(n);
    let charts = [
        Chart {
            title: "CPU of a put, all processes".to_owned(),
            across: NODES,
            up: Axis { label: "ms", is_logarithmic: false },
            lines: with_guides(put, [("as n grows", &|n| n), ("as q grows", &q)]),
        },
        Chart {
            title: "CPU of a put and node".to_owned(),
            across: NODES,
            up: Axis { label: "ms / n", is_logarithmic: false },
            lines: with_guides(each, [("the same", &|_| 1.0), ("as q / n", &|n| q(n) / n)]),
        },
    ];
    let (clients, batch) = load;
    let name = match batch {
        1 => format!("put-over-nodes-{clients}"),
        _ => format!("put-over-nodes-{clients}x{batch}"),
    };
    Picture::of(name, format!("{}, {} bytes", load_name(load), measured.bytes), charts)
}

/// q of n.
fn quorum(n: f64) -> f64 {
    let thresholds = (1..=100_u16).find(|one| f64::from(*one) >= n);
    thresholds.map_or(n, |n| Thresholds::of(usize::from(n)).q() as f64)
}

/// How something grows with n.
type Growth<'a> = &'a dyn Fn(f64) -> f64;

/// Adds lines that begin where the first measured one begins and grow as they are told.
fn with_guides(mut lines: Vec<Line>, guides: [(&str, Growth<'_>); 2]) -> Vec<Line> {
    let Some((first, start)) = lines.first().and_then(|line| Some((line, *line.points.first()?)))
    else {
        return lines;
    };
    let across: Vec<f64> = first.points.iter().map(|(n, _)| *n).collect();
    let guide = |(label, grows): (&str, Growth<'_>)| {
        let at = |n: &f64| (*n, start.1 * grows(*n) / grows(start.0).max(f64::MIN_POSITIVE));
        Line { label: label.to_owned(), points: across.iter().map(at).collect(), is_guide: true }
    };
    let guides: Vec<Line> = guides.into_iter().map(guide).collect();
    lines.extend(guides);
    lines
}

/// What a put and a get of one client cost over the size of values, on the smallest cluster.
fn cost_over_size(series: &Series) -> Option<Picture> {
    let nodes = smallest(series, |report| report.authority)?;
    let chart = |title: &str, of: fn(&ClusterReport) -> &Figures| {
        let line = |sealed| {
            let is_wanted = |report: &&ClusterReport| {
                (report.authority, report.clients, report.batch, report.sealed)
                    == (nodes, 1, 1, sealed)
            };
            // An empty value is not on a logarithmic axis.
            let points: BTreeMap<u32, f64> = (series.reports.iter().filter(is_wanted))
                .filter(|report| report.value_bytes > 0)
                .map(|report| (report.value_bytes, of(report).cpu_ms))
                .collect();
            let points = points.into_iter().map(|(bytes, ms)| (f64::from(bytes), ms)).collect();
            Line { label: transport(sealed).to_owned(), points, is_guide: false }
        };
        Chart {
            title: title.to_owned(),
            across: Axis { label: "bytes of a value", is_logarithmic: true },
            up: Axis { label: "CPU ms", is_logarithmic: true },
            lines: vec![line(false), line(true)],
        }
    };
    let charts = [chart("put", |report| &report.put), chart("get", |report| &report.get)];
    let is_over_sizes = charts.iter().flat_map(|chart| &chart.lines).any(|l| l.points.len() > 1);
    let picture =
        Picture::of("cost-over-size".to_owned(), format!("1 client, {nodes} nodes"), charts);
    picture.filter(|_| is_over_sizes)
}

/// Puts and gets a second.
fn throughput(measured: &Measured<'_>) -> Option<Picture> {
    let charts = [
        per_second("puts a second", measured.lines(None, |report| Some(report.put.per_second))),
        per_second("gets a second", measured.lines(None, |report| Some(report.get.per_second))),
    ];
    let title = format!("throughput, {} bytes", measured.bytes);
    Picture::of("throughput".to_owned(), title, charts)
}

/// Operations of each mix a second.
fn mixes(measured: &Measured<'_>) -> Option<Picture> {
    let all = measured.reports.values().flat_map(BTreeMap::values).flat_map(|report| &report.mixes);
    let reads: BTreeSet<u8> = all.map(|mix| mix.reads).collect();
    let chart = |reads: u8| {
        let of = |report: &ClusterReport| {
            let mix = report.mixes.iter().find(|mix| mix.reads == reads);
            mix.map(|Mix { figures, .. }| figures.per_second)
        };
        let puts = 100_u8.saturating_sub(reads);
        per_second(&format!("{reads} gets, {puts} puts of 100: a second"), measured.lines(None, of))
    };
    let charts: Vec<Chart> = reads.into_iter().rev().map(chart).collect();
    Picture::of("mixes".to_owned(), format!("mixes, {} bytes", measured.bytes), charts)
}

fn per_second(title: &str, lines: Vec<Line>) -> Chart {
    let up = Axis { label: "a second", is_logarithmic: true };
    Chart { title: title.to_owned(), across: NODES, up, lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line { label: "TLS".to_owned(), points: points.to_vec(), is_guide: false }
    }

    #[test]
    fn guides_begin_where_the_figures_begin() {
        let lines = vec![line(&[(4.0, 6.0), (7.0, 11.0), (10.0, 13.0)])];
        let with = with_guides(lines, [("as n grows", &|n| n), ("as q grows", &quorum)]);
        assert_eq!(with[1].points, [(4.0, 6.0), (7.0, 10.5), (10.0, 15.0)]);
        // q is 3 of 4, 5 of 7, 7 of 10.
        assert_eq!(with[2].points, [(4.0, 6.0), (7.0, 10.0), (10.0, 14.0)]);
        assert!(with_guides(Vec::new(), [("", &|n| n), ("", &|n| n)]).is_empty());
    }

    #[test]
    fn a_chart_without_points_is_left_out() {
        let empty = per_second("nothing", vec![line(&[])]);
        let full = per_second("something", vec![line(&[]), line(&[(4.0, 1.0)])]);
        assert_eq!(Picture::of(String::new(), String::new(), [empty.clone()]), None);
        let picture = Picture::of(String::new(), String::new(), [empty, full]).unwrap();
        assert_eq!((picture.charts.len(), picture.charts[0].lines.len()), (1, 1));
    }
}
