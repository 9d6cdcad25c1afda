//! Listing versions: a quorum's lists together.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::client::{ListVersions, Lost};
use bftkv_protocol::{Answer, Refusal, Response};

use crate::desk::{DEADLINE, tell_action, tell_error};
use crate::fixtures::{STORE, node, t, two_groups, variable};

fn start(limit: u16) -> ListVersions {
    let cut = BTreeSet::new();
    let mut list = ListVersions::start(two_groups(), variable("x"), None, limit, &cut, DEADLINE);
    let told = tell_action(&list.poll().unwrap());
    assert_eq!(told, format!("versions {limit} c1 c2 c3 c4"));
    list
}

fn answer(list: &mut ListVersions, from: u8, times: &[u64]) {
    let versions = times.iter().map(|number| t(*number)).collect();
    let configuration = two_groups().digest();
    let response = Response { configuration, outcome: Ok(Answer::Versions(versions)) };
    list.handle_response(0, &node(from), Ok(response));
}

fn result(list: &ListVersions) -> String {
    match list.result() {
        None => "going on".into(),
        Some(Ok(times)) => format!("{:?}", times.iter().map(|t| t.get()).collect::<Vec<_>>()),
        Some(Err(error)) => tell_error(error),
    }
}

#[test]
fn no_version_is_missing_from_a_quorum() {
    let mut list = start(10);
    answer(&mut list, 0xc1, &[7, 5]);
    answer(&mut list, 0xc1, &[9]);
    answer(&mut list, 0xc2, &[5, 3]);
    assert_eq!(result(&list), "going on", "one answer for each node");
    answer(&mut list, 0xc3, &[]);
    assert_eq!(result(&list), "[7, 5, 3]");
}

#[test]
fn the_limit_holds_for_each_and_for_all() {
    let mut list = start(2);
    answer(&mut list, 0xc1, &[9, 8, 7, 6]);
    answer(&mut list, 0xc2, &[5]);
    answer(&mut list, 0xc3, &[8]);
    assert_eq!(result(&list), "[9, 8]");
}

#[test]
fn too_few_answers_are_an_error() {
    let mut list = start(2);
    list.handle_response(0, &node(0xc1), Err(Lost::Silent));
    assert_eq!(result(&list), "going on");
    let configuration = two_groups().digest();
    let busy = Response { configuration, outcome: Err(Refusal::Busy) };
    list.handle_response(0, &node(0xc2), Ok(busy));
    assert_eq!(result(&list), "cannot read: 0 of 3, without c1 c2 c3 c4");

    let mut list = start(2);
    STORE[..2].iter().for_each(|id| answer(&mut list, *id, &[1]));
    list.handle_timeout(Duration::ZERO);
    assert_eq!(list.wake_at(), Some(DEADLINE));
    list.handle_timeout(DEADLINE);
    assert_eq!(result(&list), "cannot read: 2 of 3, without c3 c4");
}
