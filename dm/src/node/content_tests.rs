use super::*;
use crate::sample::{root_zone, root_zone_updates};
use crate::zone::Delta;

#[test]
fn what_follows_from_the_last_is_what_follows_from_the_whole() {
    let mut zone = root_zone().unwrap();
    let mut content = content_of(&zone).unwrap();
    let mut planned = zone_of(zone.apex(), &content, 1).unwrap();
    for (serial, text) in (2..).zip(root_zone_updates()) {
        let apex = Some(Name::root());
        let next = Zone::read(text.unwrap().as_bytes(), apex, Limits::default()).unwrap();
        let delta = Delta::between(&zone, &next);
        let after = content_after(&content, zone.apex(), delta.changes()).unwrap();
        assert_eq!(after.sets(), content_of(&next).unwrap().sets());
        let again = zone_after((&planned, &content), &after, serial).unwrap();
        assert_eq!(again, zone_of(zone.apex(), &after, serial).unwrap());
        (zone, content, planned) = (next, after, again);
    }
}

#[test]
fn what_is_no_zone_is_none_whatever_it_follows_from() {
    let text = "a. 60 IN SOA a. a. 7 1 1 1 1\na. 60 IN NS a.\na. 60 IN A 192.0.2.1\n";
    let apex: Name = "a.".parse().unwrap();
    let zone = Zone::read(text.as_bytes(), Some(apex.clone()), Limits::default()).unwrap();
    let content = content_of(&zone).unwrap();
    let place = |rtype: Rtype| place_of(&Key::new(apex.clone(), rtype)).unwrap();
    let a = content.sets()[&place(Rtype::A)].clone();
    let with = |place: SetKey, value: Option<Vec<u8>>| {
        let changed = content.with(&[(place, value)].into());
        let whole = zone_of(&apex, &changed, 8);
        assert_eq!(zone_after((&zone, &content), &changed, 8).is_ok(), whole.is_ok());
        whole
    };
    assert!(with(place(Rtype::A), None).is_ok());
    assert!(with(place(Rtype::NS), None).is_err());
    assert!(with(place(Rtype::SOA), None).is_err());
    assert!(with(place(Rtype::CNAME), Some(b"\0\0\0\x3c\0\x03\x01a\0".to_vec())).is_err());
    assert!(with(place(Rtype::A), Some([&a[..4], &a[4..], &a[4..]].concat())).is_err(), "twice");
    assert!(with(place(Rtype::A), Some([&[0; 4], &a[4..]].concat())).is_err(), "no TTL");
    assert!(with(place(Rtype::A), Some(a[..a.len() - 1].to_vec())).is_err(), "cut");
    let elsewhere = place_of(&Key::new("b.".parse().unwrap(), Rtype::A)).unwrap();
    assert!(with(elsewhere, Some(a)).is_err(), "out of the zone");
}
