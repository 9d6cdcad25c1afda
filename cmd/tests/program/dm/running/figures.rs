//! How long the whole root zone and its real updates take, until secondaries are told.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bftkv_dm::sample::{root_zone_text, root_zone_updates};

use super::masters::{Masters, PATIENCE};

/// A secondary that only listens: the serials that it is told, and when.
struct Ear {
    address: SocketAddr,
    heard: Receiver<(u32, Instant)>,
}

impl Ear {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut message) {
                let now = Instant::now();
                const NOTIFY: u8 = 4;
                if message[2] >> 3 != NOTIFY {
                    continue;
                }
                // The SOA is the last record, and its five numbers end it.
                let serial = message[length - 20..length - 16].try_into().unwrap();
                let is_heard = tell.send((u32::from_be_bytes(serial), now)).is_ok();
                message[2] |= 0x80;
                if !is_heard || socket.send_to(&message[..length], from).is_err() {
                    return;
                }
            }
        });
        Self { address, heard }
    }

    /// The first time that it was told of a zone after this one.
    fn told_after(&self, serial: u32) -> (u32, Instant) {
        loop {
            let (told, at) = self.heard.recv_timeout(PATIENCE).expect("a NOTIFY");
            if told > serial {
                return (told, at);
            }
        }
    }
}

/// CPU seconds of all DMs so far.
fn cpu(masters: &Masters) -> f64 {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap();
        // USER_HZ is 100 wherever Linux shows it.
        ticks as f64 / 100.0
    };
    masters.running.values().map(|running| of(running.child.id())).sum()
}

/// What `dig` says of an incremental transfer: its bytes, and the signatures that are new in it.
fn transfer(masters: &Masters, dm: usize, since: u32) -> (String, usize) {
    let at = masters.running[&dm].dns;
    let (port, ixfr) = (at.port().to_string(), format!("IXFR={since}"));
    let told = Command::new("dig").args(["@127.0.0.1", "-p", &port, ".", &ixfr]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let size = told.split_once("XFR size: ").map(|(_, size)| size.lines().next().unwrap());
    let added = told.lines().skip_while(|line| !line.contains("\tSOA\t")).collect::<Vec<_>>();
    // SOA new, SOA old, what is gone, SOA new, what is added, SOA new.
    let mut parts = added.split(|line| line.contains("\tSOA\t")).skip(3);
    let signatures = parts.next().unwrap_or_default().iter().filter(|l| l.contains("\tRRSIG\t"));
    (size.expect("dig got the zone").to_owned(), signatures.count())
}

/// All but the SOA: some versions of the root have another serial and nothing else, which is no news.
fn records(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

fn show(masters: &Masters, text: &str) -> Instant {
    for dm in 1..=masters.n {
        masters.put_file(&format!("zone{dm}"), text);
    }
    Instant::now()
}

/// Waits until all serve this serial; looks at the serial only.
fn wait_for_all(masters: &Masters, serial: u32) {
    for dm in 1..=masters.n {
        masters.wait_for_status(dm, |status| status["serving"] == serial);
    }
}

/// Settings for so large a zone, and a secondary.
fn prepare(masters: &Masters, ear: &Ear, settings: &[(&str, &str)]) {
    let all = [
        ("round_ms = ", "60000"),
        ("share_wait_ms = ", "20000"),
        // Seven at once take a while to read and compare so large a zone.
        ("grace_ms = ", "5000"),
    ];
    for dm in 1..=masters.n {
        let text = std::fs::read_to_string(masters.config(dm)).unwrap();
        let line = |line: &str| {
            let mut set = settings.iter().chain(&all);
            let set = set.find(|(name, _)| line.starts_with(name));
            set.map_or_else(|| line.to_owned(), |(name, value)| format!("{name}{value}"))
        };
        let lines: Vec<String> = text.lines().map(line).collect();
        let ear = format!("[[secondary]]\naddress = \"{}\"\n", ear.address);
        std::fs::write(masters.config(dm), lines.join("\n") + "\n" + &ear).unwrap();
    }
}

/// `cargo test --release --locked --workspace --test program -- --ignored --nocapture whole_zone_p256`
#[test]
#[ignore = "seven DMs presign, and then publish the whole root zone; prints how long it takes"]
fn whole_zone_p256() {
    let ear = Ear::new();
    let mut masters = Masters::with_p256(7, 3);
    prepare(&masters, &ear, &[("presign = ", "2900"), ("presign_batch = ", "128")]);
    let begin = Instant::now();
    masters.start_all();
    let have = |dm| masters.status(dm)["presignatures"]["have"].as_u64().unwrap_or(0);
    while (1..=masters.n).filter(|dm| have(*dm) >= 2_900).count() < 5 {
        assert!(begin.elapsed() < Duration::from_secs(1_200), "presigning takes too long");
        std::thread::sleep(Duration::from_secs(2));
    }
    let presigned = cpu(&masters);
    println!("presigned in {:.0?}, {presigned:.0} s CPU at all seven together", begin.elapsed());
    let begin = show(&masters, root_zone_text());
    let (serial, at) = ear.told_after(0);
    println!("whole zone: NOTIFY {:.1?} after the file was there", at - begin);
    wait_for_all(&masters, serial);
    println!("whole zone: {:.1} s CPU at all seven together", cpu(&masters) - presigned);
    let zones: Vec<_> = (1..=masters.n).map(|dm| masters.served(dm).unwrap()).collect();
    assert!(zones.iter().all(|zone| *zone == zones[0]), "all serve one zone");
}

/// `cargo test --release --locked --workspace --test program -- --ignored --nocapture whole_zone_rsa`; once more with
/// `--features bftkv-cmd/rsa-openssl`.
#[test]
#[ignore = "seven DMs find RSA primes and publish the whole root zone; prints how long it takes"]
fn whole_zone_rsa() {
    let ear = Ear::new();
    let mut masters = Masters::with_rsa(7, 4);
    // Four sign at once on two processors.
    prepare(&masters, &ear, &[("round_ms = ", "240000"), ("share_wait_ms = ", "120000")]);
    show(&masters, root_zone_text());
    let begin = Instant::now();
    masters.start_all();
    let (serial, at) = ear.told_after(0);
    println!("whole zone: NOTIFY {:.1?} after the start of seven processes", at - begin);
    wait_for_all(&masters, serial);
    let zones: Vec<_> = (1..=masters.n).map(|dm| masters.served(dm).unwrap()).collect();
    assert!(zones.iter().all(|zone| *zone == zones[0]), "all serve one zone");
    println!("whole zone: {:.1} s CPU at all seven together", cpu(&masters));
}

/// `cargo test --release --locked --workspace --test program -- --ignored --nocapture whole_root_zone`
#[test]
#[ignore = "seven DMs publish the whole root zone and its twelve updates; prints how long it takes"]
fn the_whole_root_zone_and_its_updates() {
    let ear = Ear::new();
    let mut masters = Masters::new(7, 4);
    prepare(&masters, &ear, &[]);
    show(&masters, root_zone_text());
    let begin = Instant::now();
    masters.start_all();
    let (mut serial, at) = ear.told_after(0);
    println!("whole zone: NOTIFY {:.1?} after the start of seven processes", at - begin);
    wait_for_all(&masters, serial);
    println!("whole zone: {:.1} s CPU at all seven together", cpu(&masters));
    let mut times: Vec<Duration> = Vec::new();
    let mut before = root_zone_text().to_owned();
    for text in root_zone_updates().map(Result::unwrap) {
        if records(&text) == records(&before) {
            continue;
        }
        let used = cpu(&masters);
        let seen = show(&masters, &text);
        before = text;
        let (new, at) = ear.told_after(serial);
        times.push(at.saturating_duration_since(seen));
        wait_for_all(&masters, new);
        let used = cpu(&masters) - used;
        let (size, signatures) = transfer(&masters, 1, serial);
        println!(
            "{new}: NOTIFY after {:.2?}; {signatures} signatures; {size}; {used:.2} s CPU",
            times.last().unwrap()
        );
        serial = new;
    }
    times.sort();
    println!(
        "updates: NOTIFY after {:.2?} in the middle, {:.2?} at most",
        times[times.len() / 2],
        times.last().unwrap()
    );
    let zones: Vec<_> = (1..=masters.n).map(|dm| masters.served(dm).unwrap()).collect();
    assert!(zones.iter().all(|zone| *zone == zones[0]), "all serve one zone");
}
