//! Detection above the fault budget: Monte Carlo against the formula of the text.
//!
//! ```text
//! detection                                  the tables, 100,000 trials for each number
//! detection --trials 1000
//! detection --svg docs/reliability/detection.svg
//! ```

use std::fmt::Write as _;
use std::process::ExitCode;

use bftkv_tests::detection::{Collusion, Draw, formula, formula_of_fresh};

/// The pairs of n and f of the plot: n-f is even, so that the halves are equal.
const CURVES: [(u8, u8); 3] = [(13, 5), (13, 7), (13, 9)];

/// The picture, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 50.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut trials, mut svg) = (100_000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option has a value")?;
        match argument.as_str() {
            "--trials" => trials = value.parse().map_err(|_| "--trials takes a number")?,
            "--svg" => svg = Some(value),
            _ => return Err(format!("{argument}: only --trials N and --svg FILE are known")),
        }
    }
    let points = curves(trials)?;
    default_setup(trials)?;
    match svg {
        Some(path) => std::fs::write(&path, picture(&points)).map_err(|e| format!("{path}: {e}")),
        None => Ok(()),
    }
}

/// One measured point.
struct Point {
    curve: (u8, u8),
    size: u8,
    knowing: f64,
    fresh: f64,
}

/// Measures each curve, and prints it beside the formulas.
fn curves(trials: u32) -> Result<Vec<Point>, String> {
    println!(
        "| n | f | Q | D_p | measured | fresh reader | measured |\n|---|---|---|---|---|---|---|"
    );
    let mut points = Vec::new();
    for curve @ (n, f) in CURVES {
        let collusion = Collusion::new(n, f).ok_or("too few signers for two certificates")?;
        for size in 1..=n {
            let seed = u64::from(size).wrapping_mul(1000).wrapping_add(u64::from(f));
            let draw = Draw::WithReplacement;
            let rates = collusion.try_often(draw, u32::from(size), trials, seed)?;
            let (n32, f32, size32) = (u32::from(n), u32::from(f), u32::from(size));
            let fresh = formula_of_fresh(n32, f32, size32);
            println!(
                "| {n} | {f} | {size} | {:.4} | {:.4} | {fresh:.4} | {:.4} |",
                formula(n32, f32, size32),
                rates.knowing,
                rates.fresh
            );
            points.push(Point { curve, size, knowing: rates.knowing, fresh: rates.fresh });
        }
    }
    Ok(points)
}

/// The text's default: n = 4b+1 and quorums of 3b+1 different members, up to f = 2b.
fn default_setup(trials: u32) -> Result<(), String> {
    println!("\n| b | n | Q | f | detected |\n|---|---|---|---|---|");
    for b in 1..=4_u8 {
        let (n, size) = (4 * b + 1, 3 * b + 1);
        for f in b..=2 * b {
            let detected = match Collusion::new(n, f) {
                None => "no second certificate".to_owned(),
                Some(collusion) => {
                    let rates = collusion.try_often(
                        Draw::Distinct,
                        u32::from(size),
                        trials,
                        u64::from(f),
                    )?;
                    format!("{:.3} %", rates.fresh * 100.0)
                }
            };
            println!("| {b} | {n} | {size} | {f} | {detected} |");
        }
    }
    Ok(())
}

/// Lines for the formulas, dots for what was measured.
fn picture(points: &[Point]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for tenth in 0..=10_u8 {
        let (y, label) = (y_of(f64::from(tenth) / 10.0), f64::from(tenth) / 10.0);
        let end = WIDTH - MARGIN;
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {y:.1}H{end}\" stroke=\"#ddd\"/>\
             <text x=\"20\" y=\"{:.1}\">{label:.1}</text>",
            y + 4.0
        );
    }
    for size in 1..=13_u8 {
        let (x, y) = (x_of(size), HEIGHT - MARGIN + 18.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>");
    }
    for (curve, colour) in CURVES.into_iter().zip(["#1b6", "#06c", "#c30"]) {
        draw_curve(&mut svg, curve, colour, points);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">members asked, |Q|</text>\n\
         <text x=\"{MARGIN}\" y=\"22\">detected: lines are formulas, dots are measured; \
         full: a reader who knows one value, dashed: who knows none</text>\n</svg>",
        WIDTH / 2.0,
        HEIGHT - 12.0
    );
    svg
}

fn draw_curve(svg: &mut String, curve @ (n, f): (u8, u8), colour: &str, points: &[Point]) {
    let of = |formula: fn(u32, u32, u32) -> f64| {
        let at = |size: u8| {
            let y = y_of(formula(u32::from(n), u32::from(f), u32::from(size)));
            format!("{:.1},{y:.1}", x_of(size))
        };
        (1..=n).map(at).collect::<Vec<_>>().join(" ")
    };
    for (line, dashes) in [(of(formula), "none"), (of(formula_of_fresh), "5 4")] {
        let _ = writeln!(
            svg,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-dasharray=\"{dashes}\"/>"
        );
    }
    for point in points.iter().filter(|point| point.curve == curve) {
        for rate in [point.knowing, point.fresh] {
            let (x, y) = (x_of(point.size), y_of(rate));
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
    let y = y_of(formula(u32::from(n), u32::from(f), 1));
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">n={n} f={f}</text>",
        x_of(1) - 10.0 + 18.0
    );
}

fn x_of(size: u8) -> f64 {
    MARGIN + 10.0 + f64::from(size - 1) * (WIDTH - 2.0 * MARGIN - 20.0) / 12.0
}

fn y_of(rate: f64) -> f64 {
    HEIGHT - MARGIN - rate * (HEIGHT - 2.0 * MARGIN)
}
