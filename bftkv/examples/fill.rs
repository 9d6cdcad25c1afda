//! Fills a running cluster: many variables, or many versions of one.
//!
//! ```text
//! bftkv cluster create /tmp/c && bftkv cluster run /tmp/c &
//! cargo run --release -p bftkv --example fill -- /tmp/c/u1 variables 100000 32
//! cargo run --release -p bftkv --example fill -- /tmp/c/u1 versions 1000 1
//! cargo run --release -p bftkv --example fill -- /tmp/c/u1 newest 5000 1 0
//! ```
//!
//! The last number is how many are written at once; one more number says where to begin, to go on
//! with a run that was interrupted. At the end what was written is read again. `newest` reads the
//! newest version of one variable, whose number is the last, COUNT times.
#![allow(clippy::print_stdout, reason = "a measurement, not a library")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bftkv::{Client, GetOptions, Home, PutOptions, Timestamp, Value, Variable};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: fill HOME variables|versions|newest COUNT AT_ONCE [FIRST]";
    let mut next = || arguments.next().ok_or(usage);
    let (home, what) = (next()?, next()?);
    let (count, at_once): (u64, u64) = (next()?.parse()?, next()?.parse()?);
    let first = next().unwrap_or_else(|_| "0".to_owned()).parse()?;
    let client = Client::open(&Home::open(Path::new(&home))?).await?;
    if what == "newest" {
        return newest(&client, count, first).await;
    }
    let one = what == "versions";
    let began = Instant::now();
    let todo = Arc::new(AtomicU64::new(first));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        tasks.spawn(write(client.clone(), Arc::clone(&todo), count, one));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    println!("{count} {what} in {:.0} s", began.elapsed().as_secs_f64());
    check(&client, count, one).await
}

async fn write(client: Client, todo: Arc<AtomicU64>, count: u64, one: bool) -> Result<(), Failure> {
    loop {
        let n = todo.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok(());
        }
        client.put(&name(n, one)?, value(n)?, PutOptions::default()).await?;
        if n % 1000 == 999 {
            println!("{}", n + 1);
        }
    }
}

async fn newest(client: &Client, count: u64, number: u64) -> Result<(), Failure> {
    let (name, began) = (name(number, false)?, Instant::now());
    for _ in 0..count {
        let found = client.get(&name, GetOptions::default()).await?;
        found.entry.ok_or("it was never written")?;
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{count} gets of {name}, {each:.0} us each");
    Ok(())
}

/// A hundredth of the variables, or every version.
async fn check(client: &Client, count: u64, one: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let step = if one { 1 } else { 100 };
    let mut read = 0u64;
    for n in (0..count).step_by(step) {
        let at = if one { Some(Timestamp::new(n + 1)) } else { None };
        let found = client.get(&name(n, one)?, GetOptions { at, ..GetOptions::default() }).await?;
        let expected = value(n)?;
        if found.entry.map(|entry| entry.signed.entry.value) != Some(expected) {
            return Err(format!("number {n} is not what was written").into());
        }
        read += 1;
    }
    println!("{read} read again in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn name(n: u64, one: bool) -> Result<Variable, Failure> {
    let n = if one { 0 } else { n };
    Ok(Variable::new(format!("fill/{n}"))?)
}

fn value(n: u64) -> Result<Value, Failure> {
    Ok(Value::new(format!("{n:0100}").into_bytes())?)
}
