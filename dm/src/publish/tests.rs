//! Requests and what they are answered with, for a zone of three versions.

use std::net::IpAddr;
use std::sync::Arc;

use domain::base::iana::{Class, Rcode};
use domain::base::message_builder::AdditionalBuilder;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, ParsedName, Ttl};
use domain::rdata::tsig::Time48;
use domain::rdata::{AllRecordData, Soa};
use domain::tsig::ClientSequence;

use crate::zone::{Limits, Name, Rtype, Zone};

use super::{Access, Reply, Responder, Rule, TsigKey, Via};

const NOW: u64 = 1_800_000_000;

fn zone(serial: u32, more: &str) -> Arc<Zone> {
    let text = format!(
        ". 86400 IN SOA a. b. {serial} 1800 900 604800 86400\n. 518400 IN NS a.\n\
         org. 172800 IN NS ns.org.\nns.org. 172800 IN A 192.0.2.1\n\
         com. 172800 IN NS ns.org.\nnet. 172800 IN NS ns.org.\nedu. 172800 IN NS ns.org.\n\
         a. 172800 IN NS ns.org.\nb. 172800 IN NS ns.org.\nc. 172800 IN NS ns.org.\n{more}"
    );
    let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default());
    Arc::new(zone.unwrap())
}

fn key() -> TsigKey {
    TsigKey::new("secondary.", "hmac-sha256", &[7; 32]).unwrap()
}

fn here() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

pub(super) fn responder(key: Option<TsigKey>) -> Responder {
    responder_for("127.0.0.0/8", key)
}

pub(super) fn responder_for(from: &str, key: Option<TsigKey>) -> Responder {
    let rule = Rule { from: from.parse().unwrap(), key };
    let responder = Responder::new(Name::root(), Access::new(vec![rule]));
    assert!(responder.publish(zone(1, "")));
    assert!(responder.publish(zone(2, "xyz. 172800 IN NS ns.org.\n")));
    assert!(responder.publish(zone(3, "xyz. 172800 IN NS ns.com.\n")));
    responder
}

pub(super) fn request(rtype: Rtype, serial: Option<u32>) -> AdditionalBuilder<Vec<u8>> {
    let mut question = MessageBuilder::new_vec().question();
    question.push((Name::root().as_domain(), rtype, Class::IN)).unwrap();
    let mut authority = question.authority();
    if let Some(serial) = serial {
        let old = zone(serial, "");
        let soa = old.apex_set(Rtype::SOA).unwrap();
        let data = UnknownRecordData::from_octets(Rtype::SOA, soa.records().next().unwrap());
        authority
            .push((Name::root().as_domain(), Class::IN, Ttl::from_secs(1), data.unwrap()))
            .unwrap();
    }
    authority.additional()
}

fn ask(responder: &Responder, rtype: Rtype, serial: Option<u32>, via: Via) -> Vec<Vec<u8>> {
    match responder.respond(request(rtype, serial).as_slice(), here(), via, NOW) {
        Reply::Transfer(messages) => messages,
        Reply::One(message) => vec![message],
        other => panic!("{other:?}"),
    }
}

/// The records of a transfer, an SOA as its serial.
fn records(messages: &[Vec<u8>]) -> Vec<String> {
    let mut out = Vec::new();
    for message in messages {
        let message = Message::from_octets(message.as_slice()).unwrap();
        assert_eq!(message.header().rcode(), Rcode::NOERROR);
        assert!(message.header().aa());
        for record in message.answer().unwrap().limit_to::<AllRecordData<_, ParsedName<_>>>() {
            let record = record.unwrap();
            out.push(match record.data() {
                AllRecordData::Soa(soa) => soa.serial().to_string(),
                _ => format!("{} {}", record.owner(), record.rtype()),
            });
        }
    }
    out
}

fn rcode(messages: &[Vec<u8>]) -> Rcode {
    Message::from_octets(messages[0].as_slice()).unwrap().header().rcode()
}

#[test]
fn a_whole_transfer_stands_between_two_soas() {
    let told = records(&ask(&responder(None), Rtype::AXFR, None, Via::Tcp));
    assert_eq!(told.len(), 12, "{told:?}");
    assert_eq!((told[0].as_str(), told[11].as_str()), ("3", "3"));
}

#[test]
fn an_increment_tells_every_step() {
    let told = records(&ask(&responder(None), Rtype::IXFR, Some(1), Via::Tcp));
    assert_eq!(told, ["3", "1", "2", "xyz NS", "2", "xyz NS", "3", "xyz NS", "3"]);
    let told = records(&ask(&responder(None), Rtype::IXFR, Some(2), Via::Tcp));
    assert_eq!(told, ["3", "2", "xyz NS", "3", "xyz NS", "3"]);
}

#[test]
fn whoever_is_up_to_date_gets_one_soa_and_whoever_is_too_late_gets_all() {
    assert_eq!(records(&ask(&responder(None), Rtype::IXFR, Some(3), Via::Tcp)), ["3"]);
    assert_eq!(records(&ask(&responder(None), Rtype::IXFR, Some(1), Via::Udp)), ["3"]);
    assert_eq!(records(&ask(&responder(None), Rtype::IXFR, Some(0), Via::Tcp)).len(), 12);
    // Whoever has a newer one already, from another primary, is not offered this.
    assert_eq!(records(&ask(&responder(None), Rtype::IXFR, Some(77), Via::Tcp)), ["3"]);
}

#[test]
fn what_is_sent_is_counted_by_key_and_kind() {
    let open = responder(None);
    for (rtype, serial, via) in [
        (Rtype::AXFR, None, Via::Tcp),
        (Rtype::IXFR, Some(0), Via::Tcp),
        (Rtype::IXFR, Some(1), Via::Tcp),
        (Rtype::IXFR, Some(3), Via::Tcp),
        (Rtype::IXFR, Some(1), Via::Udp),
        (Rtype::SOA, None, Via::Udp),
    ] {
        ask(&open, rtype, serial, via);
    }
    let sent = open.sent();
    let nobody = sent[""];
    assert_eq!((sent.len(), nobody.whole, nobody.increments), (1, 2, 1));
    assert!((100..500).contains(&nobody.increment_bytes), "{nobody:?}");
}

#[test]
fn two_primaries_send_the_same_bytes() {
    for (rtype, serial) in [(Rtype::AXFR, None), (Rtype::IXFR, Some(1))] {
        let mut told = [(); 2].map(|()| ask(&responder(None), rtype, serial, Via::Tcp));
        // But for the request's number.
        told.iter_mut().flatten().for_each(|message| message[..2].fill(0));
        assert_eq!(told[0], told[1]);
    }
}

#[test]
fn a_transfer_needs_the_key_that_the_rule_names() {
    let responder = responder(Some(key()));
    assert_eq!(rcode(&ask(&responder, Rtype::AXFR, None, Via::Tcp)), Rcode::REFUSED);
    assert_eq!(rcode(&ask(&responder, Rtype::SOA, None, Via::Udp)), Rcode::NOERROR);
    let now = Time48::from_u64(NOW);
    for (secret, is_right) in [([7; 32], true), ([8; 32], false)] {
        let key = TsigKey::new("secondary.", "hmac-sha256", &secret).unwrap();
        let mut signed = request(Rtype::AXFR, None);
        let mut sequence = ClientSequence::request(key, &mut signed, now).unwrap();
        let reply = responder.respond(&signed.finish(), here(), Via::Tcp, NOW);
        if !is_right {
            let Reply::One(refused) = reply else { panic!("{reply:?}") };
            assert_eq!(rcode(&[refused]), Rcode::NOTAUTH);
            continue;
        }
        let Reply::Transfer(messages) = reply else { panic!("{reply:?}") };
        for message in messages {
            let mut message = Message::from_octets(message).unwrap();
            assert!(sequence.answer(&mut message, now).is_ok());
        }
        assert!(sequence.done().is_ok());
    }
}

/// The right key with a clock that is a day off (RFC 8945 section 5.2.3): no transfer.
#[test]
fn a_clock_that_is_off_by_a_day_gets_no_transfer() {
    let responder = responder(Some(key()));
    for (off, is_right) in [(0, true), (200, true), (86_400, false)] {
        for then in [NOW - off, NOW + off] {
            let mut signed = request(Rtype::AXFR, None);
            let then = Time48::from_u64(then);
            ClientSequence::request(key(), &mut signed, then).unwrap();
            let reply = responder.respond(&signed.finish(), here(), Via::Tcp, NOW);
            match reply {
                Reply::Transfer(_) => assert!(is_right, "{off}"),
                Reply::One(refused) => {
                    assert!(!is_right && rcode(&[refused]) == Rcode::NOTAUTH, "{off}");
                }
                Reply::Nothing => panic!("no answer"),
            }
        }
    }
}

#[test]
fn what_is_no_request_for_this_zone_is_refused() {
    let responder = responder(None);
    let mut other = MessageBuilder::new_vec().question();
    let name = Name::root().child(b"org").unwrap();
    other.push((name.as_domain(), Rtype::NS, Class::IN)).unwrap();
    let Reply::One(refused) = responder.respond(other.as_slice(), here(), Via::Udp, NOW) else {
        panic!("no answer");
    };
    assert_eq!(rcode(&[refused]), Rcode::REFUSED);
    assert_eq!(rcode(&ask(&responder, Rtype::AXFR, None, Via::Udp)), Rcode::REFUSED);
    for length in 0..12 {
        let nothing = responder.respond(&vec![0; length], here(), Via::Tcp, NOW);
        assert_eq!(nothing, Reply::Nothing);
    }
    let mut answer = request(Rtype::SOA, None);
    answer.header_mut().set_qr(true);
    assert_eq!(responder.respond(answer.as_slice(), here(), Via::Udp, NOW), Reply::Nothing);
}

#[test]
fn a_serial_that_goes_back_is_not_published() {
    let responder = responder(None);
    assert!(!responder.publish(zone(2, "")));
    assert!(!responder.publish(zone(3, "new. 172800 IN NS ns.org.\n")));
    let soa = ask(&responder, Rtype::SOA, None, Via::Udp);
    let message = Message::from_octets(soa[0].as_slice()).unwrap();
    let found = message.answer().unwrap().limit_to::<Soa<ParsedName<_>>>().next().unwrap();
    assert_eq!(found.unwrap().data().serial().into_int(), 3);
}
