use super::*;
use crate::zone::{Delta, RrSet, Rtype, ZoneRoot};

const SMALL: &str = "\
$TTL 3600
@ IN SOA ns.Example. Admin.example. (
        7 ; the serial
        1800 900 604800 600 )
  NS ns
ns A 192.0.2.1
   A 192.0.2.2
Sub NS ns.sub
    DS 31852 8 2 89F7670AFC091B199B47900E4CE4135B9463B7F74D3D19A1C732E78C345D4DE6
ns.sub AAAA 2001:db8::1
txt TXT \"a; \\\"b\\\"\" c\\032d
odd TYPE65280 \\# 3 010203
";

fn read(text: &str) -> Result<Zone, Error> {
    Zone::read(text.as_bytes(), Some("example.".parse().unwrap()), Limits::default())
}

fn wrong(text: &str) -> (usize, String, Fault) {
    let error = read(text).unwrap_err();
    let Some(Place::Line(line)) = error.place() else { panic!("no line: {error}") };
    (line, error.record().unwrap_or_default().to_owned(), error.fault().clone())
}

#[test]
fn a_zone_is_read_as_it_is_written() {
    let zone = read(SMALL).unwrap();
    assert_eq!((zone.serial(), zone.records(), zone.sets().len()), (7, 9, 8));
    let written = zone.to_string();
    assert!(
        written.starts_with("example.\t3600\tIN\tSOA\tns.example. admin.example. 7 "),
        "{written}"
    );
    assert_eq!(read(&written).unwrap(), zone);
    assert_eq!(read(&written).unwrap().to_string(), written);
    // Another order, case and layout is the same zone.
    let (first, rest) = written.split_once('\n').unwrap();
    let mut lines: Vec<_> = rest.lines().rev().map(str::to_uppercase).collect();
    lines.retain(|line| !line.contains("\tTXT\t"));
    let txt = rest.lines().find(|line| line.contains("\tTXT\t")).unwrap();
    let other = read(&format!("{}\n{txt}\n{first}", lines.join("\n"))).unwrap();
    assert_eq!(other.root(), zone.root());
}

#[test]
fn names_with_characters_that_mean_something_come_back() {
    let odd = r#"a NS x\(y\;\@\$\"z
b\;c TXT "$(;""#;
    let zone = read(&format!("{SMALL}{odd}")).unwrap();
    assert_eq!(read(&zone.to_string()).as_ref(), Ok(&zone), "{zone}");
}

#[test]
fn what_is_wrong_is_said_with_line_and_record() {
    let with = |line: &str| format!("{SMALL}{line}\nlast A 192.0.2.9\n");
    let place = SMALL.lines().count() + 1;
    let cases = [
        ("ns A 192.0.2.2", "ns.example. A", Fault::Duplicate),
        ("ns 60 A 192.0.2.3", "ns.example. A", Fault::OtherTtl { first: 3600, found: 60 }),
        ("ns CNAME other", "ns.example. CNAME", Fault::CnameClash),
        ("a 0 A 192.0.2.3", "a.example. A", Fault::ZeroTtl),
        (
            "a 99999999 A 192.0.2.3",
            "a.example. A",
            Fault::HugeTtl { found: 99_999_999, limit: 2_678_400 },
        ),
        ("a.com. A 192.0.2.3", "a.com. A", Fault::OutOfZone("example.".parse().unwrap())),
        ("@ SOA a. b. 8 1 1 1 1", "example. SOA", Fault::Singleton),
        ("b SOA a. b. 8 1 1 1 1", "b.example. SOA", Fault::SecondSoa("example.".parse().unwrap())),
        ("a TYPE1 \\# 3 010203", "a.example. A", Fault::Malformed),
    ];
    for (line, record, fault) in cases {
        assert_eq!(wrong(&with(line)), (place, record.to_owned(), fault), "{line}");
    }
    let (line, _, fault) = wrong(&with("$INCLUDE /etc/passwd"));
    assert_eq!((line, fault), (place, Fault::Include));
    for bad in ["a A 192.0.2.300", "a A", "a NOTYPE x", "a A 192.0.2.1 x", "a CH A 192.0.2.1"] {
        let (line, _, fault) = wrong(&with(bad));
        assert!(matches!(fault, Fault::Syntax(_)), "{bad}: {fault}");
        // The scanner may have gone on to the next line when it notices.
        assert!(line == place || line == place + 1, "{bad}: {line}");
    }
}

#[test]
fn lines_are_counted_whatever_stands_between() {
    let text = format!("{SMALL}\n; comment\n\na (\n 60 \n A 192.0.2.3 )\na 60 A 192.0.2.3");
    let lines = text.lines().count();
    let (line, record, fault) = wrong(&text);
    assert_eq!((line, record.as_str(), fault), (lines, "a.example. A", Fault::Duplicate));
}

#[test]
fn a_zone_has_an_soa_and_nameservers() {
    let soa = "@ 60 SOA a. b. 8 1 1 1 1\n";
    assert_eq!(*read("@ 60 NS a.\n").unwrap_err().fault(), Fault::NoSoa);
    assert_eq!(*read("").unwrap_err().fault(), Fault::NoSoa);
    assert_eq!(*read(soa).unwrap_err().fault(), Fault::NoNs);
    assert!(read(&format!("{soa}@ 60 NS a.\n")).is_ok());
}

#[test]
fn sizes_are_limited() {
    let apex = || Some("example.".parse().unwrap());
    let limits = |records, bytes| Limits { records, bytes, ..Limits::default() };
    let read = |limits| Zone::read(SMALL.as_bytes(), apex(), limits);
    assert!(read(limits(9, SMALL.len())).is_ok());
    assert_eq!(*read(limits(8, SMALL.len())).unwrap_err().fault(), Fault::ManyRecords(8));
    // A set is refused when it is too large, not when all of it was put in order.
    let many: String = (0..40_000).rev().map(|n| format!("many AAAA 2001:db8::{n:x}\n")).collect();
    let many = Zone::read(format!("{SMALL}\n{many}").as_bytes(), apex(), Limits::default());
    assert_eq!(*many.unwrap_err().fault(), Fault::LargeSet);
    // Names count as they are, not as they are written.
    let long = "a".repeat(60) + "." + &"b".repeat(60);
    let text = format!("{SMALL}\n$ORIGIN {long}.example.\n") + "@ 60 NS @\n";
    let few = Zone::read(text.as_bytes(), apex(), limits(99, text.len()));
    assert_eq!(*few.unwrap_err().fault(), Fault::LargeFile(text.len()));
    let most = SMALL.len() - 1;
    assert_eq!(*read(limits(9, most)).unwrap_err().fault(), Fault::LargeFile(most));
}

#[test]
fn a_change_leads_from_one_version_to_the_next_and_nowhere_else() {
    let old = read(SMALL).unwrap();
    let text = SMALL.replace("7 ;", "8 ;").replace("   A 192.0.2.2\n", "").replace("Sub", "Bus");
    let new = read(&text).unwrap();
    let delta = Delta::between(&old, &new);
    assert_eq!(delta.changes().len(), 6, "SOA, one A, two deleted, two new: {delta:?}");
    assert_eq!(old.with(&delta).unwrap(), new);
    let bytes = delta.to_bytes();
    assert_eq!(Delta::from_bytes(&bytes).unwrap(), delta);
    assert!(matches!(new.with(&delta).unwrap_err().fault(), Fault::OtherSerial { have: 8, .. }));
    let other = Delta::new(7, 9, delta.changes().clone());
    assert!(matches!(old.with(&other).unwrap_err().fault(), Fault::OtherSerial { have: 8, .. }));
    for end in 0..bytes.len() {
        assert!(Delta::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    assert!(Delta::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_change_cannot_break_a_zone() {
    let zone = read(SMALL).unwrap();
    let key = |name: &str, rtype| Key::new(name.parse().unwrap(), rtype);
    let set = |rtype, data: &[u8]| Some(RrSet::new(rtype, 60, vec![data.to_vec()]).unwrap());
    let cases = [
        (key("example.", Rtype::SOA), None, Fault::NoSoa),
        (key("example.", Rtype::NS), None, Fault::NoNs),
        (key("gone.example.", Rtype::A), None, Fault::NotThere),
        (key("ns.example.", Rtype::CNAME), set(Rtype::CNAME, b"\x01a\0"), Fault::CnameClash),
        (
            key("a.", Rtype::A),
            set(Rtype::A, &[1; 4]),
            Fault::OutOfZone("example.".parse().unwrap()),
        ),
    ];
    for (key, set, fault) in cases {
        let error = zone.with_sets(&[(key.clone(), set)].into()).unwrap_err();
        assert_eq!(*error.fault(), fault, "{key}");
    }
}

#[test]
fn roots_differ_when_anything_does() {
    let zone = read(SMALL).unwrap();
    let others = [
        SMALL.replace("7 ;", "8 ;"),
        SMALL.replace("192.0.2.2", "192.0.2.3"),
        SMALL.replace("   A 192.0.2.2\n", ""),
        SMALL.replace("TYPE65280", "TYPE65281"),
        SMALL.replace("odd", "even"),
        SMALL.replace("$TTL 3600", "$TTL 3601"),
    ];
    let mut roots: Vec<_> = others.iter().map(|text| read(text).unwrap().root()).collect();
    roots.push(zone.root());
    // The hash of one set, or of a node, is no zone's root.
    roots.push(ZoneRoot::from_bytes(*zone.root_without(|_| true).as_bytes()));
    let distinct: std::collections::BTreeSet<_> = roots.iter().collect();
    assert_eq!(distinct.len(), roots.len());
    // A node in place of its two leaves: the number of sets is in the root.
    let keys: Vec<_> = zone.sets().keys().cloned().collect();
    let without_last = zone.root_without(|key| Some(key) == keys.last());
    assert_ne!(without_last, zone.root());
}

#[test]
fn broken_files_are_errors_and_nothing_worse() {
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
    let mut rng = SmallRng::seed_from_u64(7);
    let alphabet = b"\n\r\t ();\"\\@$.*#09az\0\x7f\xff";
    for _ in 0..3_000 {
        let mut text = SMALL.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..text.len());
            match rng.random_range(0..3) {
                0 => text[at] = alphabet[rng.random_range(0..alphabet.len())],
                1 => text.insert(at, alphabet[rng.random_range(0..alphabet.len())]),
                _ => text.truncate(at.max(1)),
            }
        }
        let zone = Zone::read(&text, Some("example.".parse().unwrap()), Limits::default());
        if let Ok(zone) = zone {
            let again = read(&zone.to_string());
            assert_eq!(again.as_ref(), Ok(&zone), "{zone}");
        }
    }
}

#[test]
fn the_root_zone_and_its_updates_are_read() {
    let mut zone = crate::sample::root_zone().unwrap();
    assert_eq!((zone.serial(), zone.records()), (2_026_081_300, 20_644));
    let mut sizes = Vec::new();
    for text in crate::sample::root_zone_updates() {
        let next = Zone::read(text.unwrap().as_bytes(), None, Limits::default()).unwrap();
        let delta = Delta::between(&zone, &next);
        assert_eq!(zone.with(&Delta::from_bytes(&delta.to_bytes()).unwrap()).unwrap(), next);
        sizes.push(delta.changes().len());
        zone = next;
    }
    assert_eq!(zone.serial(), 2_026_081_800);
    // Most versions change nothing but the serial.
    assert_eq!(sizes, [1, 1, 2, 1, 4, 1, 1, 1, 1, 1, 1, 1]);
}
